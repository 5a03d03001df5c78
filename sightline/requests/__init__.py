"""What is asked: the inputs and the options, checked, as protobuf messages."""
