"""Engines: ways to run a program. NumPy is always there; the others say the same thing faster."""
