"""Networks to and from other libraries: PyTorch; to ONNX."""
