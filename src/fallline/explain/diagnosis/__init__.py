"""What is wrong with a network or its training, by which numbers, and the cure."""
