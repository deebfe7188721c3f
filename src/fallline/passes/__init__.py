"""Passes: from a program to an equal program that costs less, and the plan of its memory.

Dead nodes need no pass: a program is what its outputs reach, so whatever a pass leaves unused is gone.
"""
