"""Losses and the links that belong to them."""
