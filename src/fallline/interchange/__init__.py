"""Networks to and from other libraries: PyTorch."""
