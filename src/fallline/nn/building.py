"""Building: how a recipe becomes a model. Shapes flow by calling the recipe once on Values.

A layer that meets its input and has no weights yet builds itself for that input's shape, is noted under its
path, and the call goes on with the filled layer. So a record that only says what it computes can be built,
skip connections and shared layers included.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.spec import Spec
from fallline.core.tree import map_leaves, map_records, records_in
from fallline.graph.program import Program
from fallline.nn.run import Run


class Building:
    """What is known while one recipe is built.

    root    the recipe itself
    filled  the layers built so far, by path
    hints   the initializer that suits what follows a layer, by the layer's id; containers note it
    """

    def __init__(self, root: Any, rng: np.random.Generator):
        self.root, self.rng = root, rng
        self.filled: dict[str, Any] = {}
        self.hints: dict[int, str | None] = {}

    def version_of(self, layer: Any, x: Any, run: Run) -> Any:
        """The layer with weights for the input x; a layer whose parts build themselves is returned as it is."""
        if layer is self.root or layer.is_filled or layer.builds_by_parts:
            return layer
        path = run.paths.get(id(layer))
        if path is None:
            raise ConfigError(
                f"{layer!r} is made inside __call__, where its weights cannot be kept: make it a field of the record"
            )
        if path not in self.filled:
            self.filled[path] = self._built(layer, x)
        return self.filled[path]

    def _built(self, layer: Any, x: Any) -> Any:
        specs = map_leaves(lambda _, leaf: Spec.of(leaf), x)
        hint = self.hints.get(id(layer))
        if hint is None or getattr(layer, "init", None) != "auto":
            return layer.build(specs, self.rng)
        return layer.replace(init=hint).build(specs, self.rng).replace(init="auto")


def build_by_parts(recipe: Any, x: Any, rng: np.random.Generator) -> Any:
    """The recipe with all layers inside it filled, for an input of these specs."""
    recipe = map_records(
        lambda _, part: part.replace(), recipe
    )  # one object a place, even where a layer is listed twice
    building = Building(recipe, rng)
    run = Run(model=recipe, building=building)
    Program.of(lambda v: recipe(v, run), x)
    model = map_records(lambda path, part: building.filled.get(path, part), recipe)
    missed = [(path, part) for path, part in records_in(model) if not getattr(part, "is_filled", True) and path]
    if missed:
        path, part = missed[-1]  # the innermost
        name = type(recipe).__name__
        raise ConfigError(f"{path}: {name} never calls {part!r}, so its input has no shape: call it or drop it")
    return model
