"""The ONNX opset of every graph that this project writes."""

OPSET_VERSION = 20
