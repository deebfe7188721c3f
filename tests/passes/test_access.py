"""Views as offsets and strides: what an access says is what NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from fallline.core.spec import Spec
from fallline.graph.op import OPS, new_input
from fallline.graph.value import Value
from fallline.passes.access import Access, row_major, through, whole
from tests.strategies import shapes


def read(access: Access, array: np.ndarray) -> np.ndarray:
    """The entries that an access names, from the root's array."""
    flat = array.reshape(-1)
    strides = tuple(s * flat.itemsize for s in access.strides)
    return as_strided(flat[access.offset :], access.shape, strides) if array.size else np.empty(access.shape)


def seen(view: Value, source: Access) -> Access:
    """The access of a view that needs no copy."""
    found = through(view, source)
    assert found is not None
    return found


def root(*shape: int) -> tuple[Value, np.ndarray]:
    return new_input(Spec(shape, np.dtype("float64"))), np.arange(float(np.prod(shape))).reshape(shape)


def test_an_array_of_its_own_is_dense():
    x, array = root(2, 3, 4)
    assert whole(x).dense
    assert whole(x).strides == row_major((2, 3, 4)) == (12, 4, 1)
    np.testing.assert_array_equal(read(whole(x), array), array)


def test_a_reshape_that_keeps_the_order_is_dense():
    x, _ = root(2, 3, 4)
    assert seen(x.reshape(6, 1, 4), whole(x)).dense
    assert not seen(x.transpose(), whole(x)).dense
    assert not seen(x[1:], whole(x)).dense
    assert not seen(x[:1], whole(x)).dense
    assert not seen(OPS["flip"](x, 0), whole(x)).dense


def test_axes_of_one_entry_may_step_anywhere():
    x, _ = root(1, 4)
    assert seen(x.transpose((1, 0)), whole(x)).dense
    assert seen(OPS["flip"](x, 0), whole(x)).dense


def test_a_broadcast_steps_by_nothing():
    x, array = root(3, 1)
    wide = OPS["broadcast_to"](x, (2, 3, 4))
    assert seen(wide, whole(x)).strides == (0, 1, 0)
    np.testing.assert_array_equal(read(seen(wide, whole(x)), array), np.broadcast_to(array, (2, 3, 4)))


def test_a_reshape_of_a_transpose_needs_a_copy_unless_the_runs_stay_whole():
    x, array = root(4, 6)
    turned = seen(x.transpose(), whole(x))
    assert through(x.transpose().reshape(24), turned) is None
    split = x.transpose().reshape(2, 3, 4)
    np.testing.assert_array_equal(read(seen(split, turned), array), array.T.reshape(2, 3, 4))


MOVES: dict[str, Any] = {
    "reshape flat": lambda x: x.reshape(-1),
    "reshape column": lambda x: x.reshape(-1, 1),
    "split": lambda x: x.reshape(*(d for n in x.shape for d in ((2, n // 2) if n % 2 == 0 else (n,)))),
    "merge": lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) if x.ndim > 1 else x,
    "transpose": lambda x: x.transpose(),
    "swap": lambda x: x.transpose((1, 0, *range(2, x.ndim))) if x.ndim > 1 else x,
    "flip": lambda x: OPS["flip"](x, 0) if x.ndim else x,
    "flip last": lambda x: OPS["flip"](x, -1) if x.ndim else x,
    "tail": lambda x: x[1:] if x.ndim and x.shape[0] > 1 else x,
    "every second": lambda x: x[..., ::2] if x.ndim else x,
    "spread": lambda x: OPS["broadcast_to"](x, (2, *x.shape)) if x.ndim < 4 else x,
}


@given(shapes(min_dims=1, max_dims=3), st.lists(st.sampled_from(sorted(MOVES)), min_size=1, max_size=6))
def test_chains_of_views(shape, names):
    twice = tuple(2 * d for d in shape)
    x, array = root(*twice)
    value, access = x, whole(x)
    for name in names:
        made = MOVES[name](value)
        chain = []
        while made is not value:
            chain.append(made)
            made = made.args[0]
        for node in reversed(chain):
            array_of_node = node.op.forward(read(access, array), **node.attrs)
            found = through(node, access)
            if found is None:  # only a copy gives it: NumPy makes one too
                assert node.op.name == "reshape"
                assert not np.shares_memory(np.reshape(read(access, array), node.shape), array)
                return
            np.testing.assert_array_equal(read(found, array), array_of_node)
            value, access = node, found


def test_views_of_nothing():
    x, array = root(0, 4)
    for view in (x.transpose(), x[:, 1:], x.reshape(4, 0), OPS["flip"](x, 0)):
        assert read(seen(view, whole(x)), array).shape == view.shape
