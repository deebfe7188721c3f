"""How long training takes, beside the other libraries that are installed: python -m benchmarks --help."""
