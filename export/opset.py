"""The version of ONNX's operators that every graph of this project is written in."""

OPSET_VERSION = 20
