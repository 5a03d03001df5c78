"""What comes back: plain frozen data without protobuf, and the functions that read it."""
