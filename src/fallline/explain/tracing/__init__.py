"""A function, a layer or a fitted model run once, with the value and the derivative of every node."""
