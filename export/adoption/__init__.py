"""Adoption: an ONNX file that someone else exported becomes an artifact."""
