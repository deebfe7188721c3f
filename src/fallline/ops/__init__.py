"""The vocabulary of programs: about fifty primitives, and the composites made of them."""
