"""Layer: the base of everything that a network is made of, and what can be asked of a whole model."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fallline.core.errors import ConfigError, ShapeError
from fallline.core.record import Record, roles_of
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, map_records, records_in
from fallline.graph.program import Program
from fallline.graph.value import scope
from fallline.nn.building import build_by_parts
from fallline.nn.run import EVAL, Run


class Layer(Record):
    """A function with weights. Empty it is a recipe, filled by `build` it is a model.

    A subclass is decorated with `@record`, declares settings, `param()` and `buffer()` fields, and writes
    `__call__(self, x, run=EVAL)` in ops. With fields of its own that need an array it also writes `build`;
    layers inside it are built without being told how.

    suits      of an activation: the initializer that suits weights in front of it ("he", "glorot", "lecun")
    takes_codes  it reads whole numbers as codes of categories; without such a layer `fit` makes integers floats
    passes_on  the layer keeps the role of its input, so that weights in front look past it at the activation
    """

    suits: ClassVar[str | None] = None
    passes_on: ClassVar[bool] = False
    takes_codes: ClassVar[bool] = False

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        if "__call__" in cls.__dict__:
            cls.__call__ = _called(cls.__name__, cls.__dict__["__call__"])  # type: ignore[method-assign]
        if "build" in cls.__dict__:
            cls.build = _prepared(cls.__dict__["build"])  # type: ignore[method-assign]

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        """The layer's output for the input x."""
        raise ConfigError(f"{type(self).__name__} does not say what it computes: write __call__(self, x, run=EVAL)")

    def build(self, x: Any, rng: Any) -> Any:
        """The filled layer for an input of this Spec (or tree of Specs); every setting stays as it is.

        rng  a NumPy generator, or a seed; the numbers are drawn in float64 and cast to the input's dtype
        """
        if not self._has_own_leaves():
            names = ", ".join(_leaf_fields(type(self)))
            raise ConfigError(
                f"{self!r} has fields without an array ({names}): write build(self, x, rng) that fills them"
            )
        return build_by_parts(self, _specs(x), np.random.default_rng(rng)) if _parts(self) else self

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        """A recipe and an input in float64 on which the generated tests run this layer."""
        return cls(), rng.normal(size=(4, 6))

    @property
    def is_filled(self) -> bool:
        """Whether the layer and all layers inside it have their weights."""
        return all(part._has_own_leaves() for _, part in records_in(self) if isinstance(part, Layer))

    @property
    def builds_by_parts(self) -> bool:
        """Whether there is nothing to build but the layers inside."""
        return type(self).build is Layer.build and self._has_own_leaves()

    def _has_own_leaves(self) -> bool:
        """One array is enough: a layer without a bias leaves that field empty."""
        names = _leaf_fields(type(self))
        return not names or any(getattr(self, n) is not None for n in names)


def _leaf_fields(cls: type[Record]) -> tuple[str, ...]:
    """The names of the fields that hold arrays."""
    return tuple(name for name, role in roles_of(cls) if role != "setting")


def _parts(layer: Layer) -> list[Layer]:
    """The layers inside a layer."""
    return [found for _, found in records_in(layer) if isinstance(found, Layer) and found is not layer]


def param_dtype(x: Spec) -> np.dtype:
    """The dtype of the parameters for an input: the input's own, float32 where that is no float."""
    if not isinstance(x, Spec):
        given = " and ".join(map(str, leaves(x).values()))
        raise ShapeError(f"a layer with weights reads one array, given {given}: begin with a layer that joins them")
    return x.dtype if x.is_float else np.dtype("float32")


class _Active(threading.local):
    """The run of the layer call that this thread is inside of; None outside of all."""

    run: Run | None = None


_active = _Active()


def _called(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's own __call__ with what every call shares.

    Weights must be there (or are built), Values carry the layer's path, an error of shapes names the layer.
    """
    if own.__code__.co_argcount < 3:
        raise ConfigError(
            f"{name}.__call__ must be written `def __call__(self, x, run=EVAL)`: run carries mode and random key"
        )

    @functools.wraps(own)
    def call(self: Layer, x: Any, run: Run | None = None) -> Any:
        outer = _active.run
        run = _run_of_call(self, run, outer)
        x = np.asarray(x) if isinstance(x, (list, int, float)) else x
        path = run.path_of(self)
        layer = _with_weights(self, x, run)
        _active.run = run
        try:
            with scope(path), np.errstate(all="ignore"):
                result = own(layer, x, run)
        except ShapeError as error:
            raise _located(error, layer, path, x) from None
        finally:
            _active.run = outer
        if run.calls is not None:
            run.calls.append((path, layer, result))
        return result

    return call


def _run_of_call(layer: Layer, run: Run | None, outer: Run | None) -> Run:
    """The run that a call belongs to: the given one, or one that only evaluates where none or EVAL was given.

    outer  the run of the call around this one, None at the top
    """
    given = None if run is EVAL else run  # EVAL is shared by all models and so knows the paths of none
    if outer is None:
        if given is None:
            return Run.of(layer)
        if id(layer) not in given.paths:
            given.bind(layer)
        return given
    if run is None and (outer.training or outer.building is not None):
        raise ConfigError(
            f"{type(layer).__name__} was called without run inside another layer: pass it on, layer(x, run)"
        )
    if outer.building is not None:
        return given if given is not None and given.building is not None else outer
    if given is None:
        return Run.of(layer) if outer.training else outer
    return given


def _with_weights(layer: Layer, x: Any, run: Run) -> Layer:
    """The layer to call: the one that is built for x while a recipe is built, else itself; ConfigError for a recipe."""
    if run.building is not None:
        return run.building.version_of(layer, x, run)
    if not layer._has_own_leaves():
        raise ConfigError(
            f"{layer!r} has no weights yet: build it first with layer.build(spec, rng), or train it with fl.fit"
        )
    return layer


def _located(error: ShapeError, layer: Layer, path: str, x: Any) -> ShapeError:
    """The error with the innermost layer named, once."""
    if error.located:
        return error
    given = " and ".join(str(Spec.of(leaf)) for leaf in leaves(x).values())
    named = ShapeError(f"{path + ' ' if path else ''}{layer!r}, given {given}: {error}")
    named.located = True
    return named


def _prepared(own: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's own build, which then always gets Specs and a generator."""

    @functools.wraps(own)
    def build(self: Layer, x: Any, rng: Any) -> Any:
        return own(self, _specs(x), np.random.default_rng(rng))

    return build


def _specs(x: Any) -> Any:
    return map_leaves(lambda _, leaf: Spec.of(leaf), np.asarray(x) if isinstance(x, list) else x)


def output_spec(layer: Layer, x: Any) -> Any:
    """The Spec (or tree of Specs) of the layer's output for an input of these Specs, found by tracing.

    A recipe is built on the way, with weights that are thrown away.
    """
    specs, filled = _tried_on(layer, x)
    return map_leaves(lambda _, value: value.spec, Program.of(filled, specs).result)


def _tried_on(layer: Layer, x: Any) -> tuple[Any, Layer]:
    """The Specs of an input, and the layer with some weights for it."""
    specs = _specs(x)
    return specs, layer if layer.is_filled else layer.build(specs, 0)


def network_of(model: Any) -> Any:
    """The network of a fitted model (of a Fit or a fitted estimator too); anything else as it is."""
    found = getattr(model, "model_", model)
    network = getattr(getattr(found, "model", found), "network", model)
    return network if isinstance(network, Layer) else model


def count_parameters(model: Any) -> int:
    """The number of entries that training changes by their gradients, of a layer or a fitted model."""
    return sum(int(np.size(leaf)) for leaf in leaves(network_of(model), "param").values())


def recipe_of(model: Any) -> Any:
    """The same model without its arrays."""

    def emptied(_: str, part: Record) -> Record:
        names = _leaf_fields(type(part)) if isinstance(part, Layer) else ()
        return part.replace(**dict.fromkeys(names)) if names else part

    return map_records(emptied, model)


class SummaryRow(NamedTuple):
    """One layer of a model: its path, its settings as text, its output's shape, the number of its parameters."""

    path: str
    layer: str
    output: Any
    n_parameters: int


def summary(model: Layer, x: Any) -> list[SummaryRow]:
    """One row for each innermost layer, in the order in which they are called on an input of these Specs."""
    specs, filled = _tried_on(network_of(model), x)
    run = Run.of(filled, record=True)
    Program.of(lambda v: filled(v, run), specs)
    rows, seen = [], set()
    for path, layer, result in run.calls or []:
        if _parts(layer):
            continue
        shape = map_leaves(lambda _, value: value.shape, result)
        rows.append(SummaryRow(path, repr(recipe_of(layer)), shape, 0 if path in seen else count_parameters(layer)))
        seen.add(path)
    return rows


__all__ = [
    "Layer",
    "SummaryRow",
    "count_parameters",
    "network_of",
    "output_spec",
    "param_dtype",
    "recipe_of",
    "summary",
]
