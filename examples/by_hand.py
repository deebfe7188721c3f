"""Gradient descent on one weight, with the derivative in sight: (w - 3)², from 0, at rate 0.1."""

import fallline as fl


def loss(w):
    return (w - 3.0) ** 2


w = 0.0
for step in range(5):
    value, slope = fl.value_and_grad(loss)(w)
    print(f"step {step}: w = {w:.4f}   loss = {value:.4f}   dL/dw = {slope:+.4f}")
    w = w - 0.1 * slope

print("second derivative:", fl.grad(fl.grad(loss))(w))
print(fl.check_gradients(loss, w))
