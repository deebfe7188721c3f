"""Derivatives: reverse mode, forward mode, numerical, and the functions that users call."""
