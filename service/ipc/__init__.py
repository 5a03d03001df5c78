"""All that two processes say to each other: shared memory, doorbells, control messages."""
