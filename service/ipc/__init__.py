"""How processes talk to each other: shared memory, doorbells, control messages."""
