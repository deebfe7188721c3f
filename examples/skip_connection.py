"""A layer of one's own: a record with a __call__, here with a skip connection."""

import numpy as np

import fallline as fl


@fl.record
class Skip(fl.Layer):
    """y = x + tanh(x W + b) V + c"""

    inner: fl.Layer
    outer: fl.Layer

    def __call__(self, x, run=fl.EVAL):
        return x + self.outer(fl.tanh(self.inner(x, run)), run)


rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, size=(400, 2))
y = np.sin(3 * X[:, 0]) + X[:, 1]

net = fl.Sequential(fl.Dense(32), Skip(fl.Dense(64), fl.Dense(32)), fl.Dense(1))
fit = fl.fit(net, (X, y), optimizer=fl.Adam(3e-3), epochs=60, validation=0.25, metrics=["r2"])
print(fit.history)
for row in fl.summary(fit.model.network, fl.spec((400, 2))):
    print(row)
