"""Two ops with a planted fault each. The contract checks must find both, or they check nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fallline.graph.op import OPS, Op, elementwise, primitive
from fallline.graph.sample import reals
from fallline.ops.transcendental import cos, sin


@contextmanager
def fault_in_vjp() -> Iterator[Op]:
    """sin whose reverse rule alone has the wrong sign: forward mode is right."""
    op = primitive(
        "faulty_vjp", lambda x: x, lambda x, out=None: np.sin(x, out=out),
        vjp=lambda g, y, x: (-g * cos(x),), jvp=lambda tangents, y, x: tangents[0] * cos(x),
        inplace=True, sample=reals(-4, 4),
    )  # fmt: skip
    yield from _for_a_while(op)


@contextmanager
def fault_in_shared_deriv() -> Iterator[Op]:
    """sin with a wrong derivative from which both modes are made: they agree with each other."""
    op = elementwise("faulty_deriv", np.sin, (lambda y, x: sin(x),), takes="f", sample=reals(-4, 4))
    yield from _for_a_while(op)


@contextmanager
def fault_in_out() -> Iterator[Op]:
    """An op that returns the right result and leaves `out` as it was."""
    op = primitive("faulty_out", lambda x: x, lambda x, out=None: np.sin(x), sample=reals(-4, 4))
    yield from _for_a_while(op)


@contextmanager
def fault_in_shape() -> Iterator[Op]:
    """An op that announces a matrix and computes a row."""
    op = primitive("faulty_shape", lambda x: x, lambda x, out=None: np.sum(x, axis=0, out=out), sample=reals(-4, 4))
    yield from _for_a_while(op)


def _for_a_while(op: Op) -> Iterator[Op]:
    try:
        yield op
    finally:
        OPS.remove(op.name)
