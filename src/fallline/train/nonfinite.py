"""Where NaN or infinity appeared first: the failed step is run again, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fallline.graph.program import Program, reachable
from fallline.graph.value import Value

LARGE = 1e6  # weights or gradients beyond this mean that the steps were too long


@dataclass(frozen=True)
class Culprit:
    """The first node of a step whose value is not finite though its arguments are.

    op, where  name of the op, path of the layer ("" outside one)
    largest    the largest finite size among its arguments
    backward   it belongs to the gradients and not to the forward pass
    """

    op: str
    where: str
    largest: float
    backward: bool
    given: str = ""

    def __str__(self) -> str:
        if self.given:
            return f"in {self.given}, which was given to the step"
        part = "the gradient of " if self.backward else ""
        return f"in {part}{self.where or 'the network'}, op {self.op}"

    @property
    def cause(self) -> str:
        """The likely cause, in the user's words."""
        if self.given:
            return "the weights or the data are not finite: check the starting weights and the input"
        if self.where == "optimizer" or self.largest > LARGE:
            cure = "lower it or clip the gradients with ClipNorm"
            return f"the values have grown to {self.largest:.1e}, so the learning rate is too high: {cure}"
        if self.op in ("log", "divide", "sqrt", "power"):
            return f"{self.op} of a number outside its range: keep its argument away from 0"
        return f"{self.op} overflowed on values of size {self.largest:.1e}: scale the inputs or lower the learning rate"


def first_nonfinite(program: Program, arrays: Sequence[np.ndarray], loss: Value) -> Culprit | None:
    """The culprit in a step that was given these arrays; None when every value is finite.

    loss  the node where the forward pass ends
    """
    values = program.bind(arrays)
    for node in program.inputs:
        if not _finite(values[id(node)]):
            return Culprit("input", "", 0.0, False, node.attrs["name"])
    forward = {id(v) for v in reachable([loss])}
    with np.errstate(all="ignore"):
        for node in program.order:
            if id(node) in values:
                continue
            args = [values[id(a)] for a in node.args]
            values[id(node)] = np.asarray(node.op.forward(*args, **node.attrs))
            if not _finite(values[id(node)]) and node.op.name != "constant":
                sizes = [float(np.max(np.abs(a), initial=0.0)) for a in args if a.dtype.kind == "f"]
                return Culprit(node.op.name, node.scope, max(sizes, default=0.0), id(node) not in forward)
    return None


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.all(np.isfinite(array)))


__all__ = ["Culprit", "first_nonfinite"]
