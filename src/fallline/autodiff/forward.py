"""Forward mode: tangents travel along with the values, from the inputs to the outputs.

dv/dt = Σ_u dv/du · du/dt   over the arguments u of v
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fallline.autodiff.reverse import depends_on
from fallline.graph.op import as_value
from fallline.graph.program import reachable
from fallline.graph.value import Value, scope


def pushforward(outputs: Sequence[Value], wrt: Sequence[Value], tangents: Sequence[Any]) -> list[Value]:
    """Σ_w d output / d w · tangent_w, for each output, as nodes that extend the same graph."""
    order = reachable(outputs)
    active = depends_on(order, wrt)
    found: dict[int, Value] = {id(w): as_value(t) for w, t in zip(wrt, tangents, strict=True)}
    for node in order:
        if id(node) in found or id(node) not in active or node.op.jvp is None:
            continue
        given = tuple(found.get(id(a)) for a in node.args)
        if any(t is not None for t in given):
            with scope(node.scope):
                tangent = node.op.jvp(given, node, *node.args, **node.attrs)
            if tangent is not None:
                found[id(node)] = tangent
    return [found[id(o)] if id(o) in found else as_value(np.zeros(o.shape, o.dtype)) for o in outputs]
