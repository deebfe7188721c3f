"""PReLU, whose slope is learned; the other relatives of ReLU stand in test_activations.py."""

from __future__ import annotations

import numpy as np

from fallline.autodiff.functions import grad
from fallline.nn.rectifiers import PReLU
from tests.tolerance import assert_close


def test_prelu_learns_one_slope_per_feature():
    x = np.array([[-2.0, 3.0], [-1.0, -4.0]])
    layer = PReLU().build(x, 0)
    assert_close(layer.slope, np.full(2, 0.25))
    assert_close(layer(x), np.array([[-0.5, 3.0], [-0.25, -1.0]]))
    assert_close(grad(lambda m: m(x).sum())(layer).slope, np.array([-3.0, -4.0]))  # Σ min(z, 0)
    assert_close(grad(lambda v: layer(v).sum())(np.zeros((1, 2))), np.full((1, 2), 0.25))
