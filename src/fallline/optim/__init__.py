"""Optimizers, wrappers around them, and learning-rate schedules."""
