"""The vocabulary of programs: about sixty primitives, and the composites made of them."""
