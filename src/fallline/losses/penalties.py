"""Penalties on the weights, added to the mean loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import Record, record, setting
from fallline.core.select import Where, select
from fallline.ops.arithmetic import absolute
from fallline.ops.composite import dot
from fallline.ops.reduce import sum as asum


class Penalty(Record):
    """penalty(parameters): one number, added to the MEAN loss, so that the batch size does not change its strength.

    A course that writes the cost as  Σ L/m + (λ/2m) ‖w‖²  means strength λ/m here, m the number of rows.

    where  None: the weights, arrays with two axes or more (not biases, not the gains of normalisation);
           a path pattern such as "*.W" or "layers.0.*", a tuple of them, or a predicate (path, leaf) -> bool
    """

    strength: float
    where: Where

    of_one: ClassVar[Callable[..., Any]]  # (self, w) -> the penalty of one array

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """params  path -> array or Value;  returns shape (), in the dtype of the parameters"""
        chosen = select(self.where, params, repr(self))
        parts = [self.of_one(leaf) for path, leaf in params.items() if path in chosen]
        if parts:
            return sum(parts[1:], start=parts[0])
        dtypes = [leaf.dtype for leaf in params.values()]
        return np.zeros((), dtypes[0] if dtypes else "float32")


@record
class L1(Penalty):
    """strength · Σ |w|; slope 0 at w = 0. It drives weights that the data do not need towards 0."""

    strength: float = setting(1e-4, at_least=0)
    where: Where = None

    def of_one(self, w: Any) -> Any:
        return self.strength * asum(absolute(w))


@record
class L2(Penalty):
    """strength / 2 · Σ w²: its gradient is strength · w. The square of the norm is taken, not the norm."""

    strength: float = setting(1e-4, at_least=0)
    where: Where = None

    def of_one(self, w: Any) -> Any:
        return (0.5 * self.strength) * dot(w, w)


__all__ = ["L1", "L2", "Penalty"]
