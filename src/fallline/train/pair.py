"""Pair: a network beside a loss, and what the end of the network leaves of the scores, which is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.tree import join, leaves, records_in
from fallline.losses.loss import Loss
from fallline.nn.containers import Chain, Sequential
from fallline.nn.layer import Layer, output_spec, recipe_of
from fallline.nn.run import EVAL
from fallline.train.response import Response

HIDDEN_WIDTH = 4  # numbers a row on which a stage is tried


@dataclass(frozen=True, eq=False)
class Pair:
    """A filled network, a loss and the targets that they meet.

    x  Specs of some rows of inputs;  y  the targets as the loss takes them, None when they are not known
    by_gradient  whether gradients will train the network
    """

    network: Layer
    loss: Loss
    x: Any
    y: np.ndarray | None = None
    by_gradient: bool = True

    @cached_property
    def stages(self) -> list[tuple[str, Any]]:
        """Every innermost layer or function with its path, in the order of the calls."""
        return list(stages_of(self.network, Layer))

    @cached_property
    def halves(self) -> tuple[list[Any], list[tuple[str, Any]]]:
        """The stages up to the last weights, and with their paths those that follow: the tail."""
        flat = list(stages_of(self.network, Sequential))
        end = max((i for i, (_, stage) in enumerate(flat) if has_weights(stage)), default=-1) + 1
        return [stage for _, stage in flat[:end]], flat[end:]

    @cached_property
    def response(self) -> Response | None:
        """What the tail does to scores; None where there is none, or no row of scores for it."""
        body, tail = self.halves
        if not body or not tail:
            return None
        scores = output_spec(Sequential(*body), self.x)
        if len(scores.shape) != 2:
            return None
        found = Response.of(partial(through, [stage for _, stage in tail]), scores.shape[1], scores.dtype)
        return None if found.is_identity else found

    @cached_property
    def responses(self) -> list[Response | None]:
        """What each of the stages does to a few numbers a row; None with weights, and of one that takes others."""
        return [None if has_weights(stage) else tried(stage) for _, stage in self.stages]

    @property
    def tail_name(self) -> str:
        """The stages of the tail that change something, as text; dropout, predicting, does not."""
        assert self.response is not None
        names, x = [], self.response.z
        for _, stage in self.halves[1]:
            y = np.asarray(through([stage], x))
            if not np.array_equal(x, y):
                names.append(stage_text(stage))
            x = y
        return " and ".join(names)

    @cached_property
    def scores(self) -> np.ndarray:
        """The scores that come out of the probed tail, in the shape that the loss takes."""
        assert self.response is not None
        return squeezed(self.response.y)

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The least and the largest prediction that the tail leaves possible."""
        predicted = np.asarray(self.loss.predict(self.scores))
        finite = predicted[np.isfinite(predicted)]
        return (float(finite.min()), float(predicted[~np.isnan(predicted)].max())) if finite.size else (0.0, 0.0)


def tried(stage: Any) -> Response | None:
    """What a stage does to a few numbers a row; None where it takes others."""
    return _remembered(stage) if isinstance(stage, Layer) and not leaves(stage) else _tried(stage)


@lru_cache(64)
def _remembered(stage: Layer) -> Response | None:
    """The same for a layer that is all settings: every network that is trained asks for its activations."""
    return _tried(stage)


def _tried(stage: Any) -> Response | None:
    try:
        return Response.of(partial(through, [stage]), HIDDEN_WIDTH)
    except Exception:  # a function of one's own may fail in any way on what it is not meant for
        return None


def stages_of(layer: Any, kind: type[Layer], path: str = "") -> Iterator[tuple[str, Any]]:
    """The layers and functions inside a layer, by path, in the order of the calls; it looks into every `kind`."""
    if isinstance(layer, kind) and isinstance(layer, Chain):
        for i, part in enumerate(layer.layers):
            yield from stages_of(part, kind, join(path, f"layers.{i}"))
        return
    inside = _children(layer) if isinstance(layer, kind) else []
    for name, part in inside:
        yield from stages_of(part, kind, join(path, name))
    if not inside:
        yield path, layer


def _children(layer: Layer) -> list[tuple[str, Layer]]:
    """The layers in the fields of a layer, and not those inside them."""
    found: list[tuple[str, Layer]] = []
    for path, part in records_in(layer):
        if isinstance(part, Layer) and path and not any(path.startswith(f"{p}.") for p, _ in found):
            found.append((path, part))
    return found


def stage_text(stage: Any) -> str:
    """A layer's settings, or a function's name."""
    if isinstance(stage, Layer):
        return repr(recipe_of(stage))
    return getattr(stage, "__name__", None) or getattr(stage, "name", None) or repr(stage)


def has_weights(stage: Any) -> bool:
    """Whether it is a layer with parameters."""
    return isinstance(stage, Layer) and bool(leaves(stage, "param"))


def through(stages: list[Any], x: Any) -> Any:
    """x after all stages, as when predicting."""
    for stage in stages:
        x = stage(x, EVAL) if isinstance(stage, Layer) else stage(x)
    return x


def squeezed(scores: Any) -> Any:
    """Scores in the shape that losses take: (rows,) for one score a row."""
    return scores.reshape(scores.shape[0]) if scores.ndim == 2 and scores.shape[1] == 1 else scores


__all__ = ["Pair", "has_weights", "squeezed", "stage_text", "stages_of", "through", "tried"]
