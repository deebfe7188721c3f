"""Compilation: what an engine makes of a training step, of a prediction or of any function, and where the time goes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import CompileError, ConfigError
from fallline.core.listing import Listing
from fallline.core.registry import nearest
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.engines.engine import Engine
from fallline.engines.report import CallFacts, ProgramFacts, Sample, reference_facts
from fallline.explain.reports.compiled_text import calls_listing, data_listing, sections_of
from fallline.explain.reports.report import Report, Section
from fallline.graph.program import Program
from fallline.losses.loss import Loss
from fallline.losses.penalties import L1, L2
from fallline.nn.layer import Layer
from fallline.nn.run import EVAL
from fallline.ops.random import new_key, step_keys
from fallline.optim.optimizer import Optimizer
from fallline.optim.solver import as_minimizer
from fallline.train.examples import Examples, as_inputs, n_rows, take_rows
from fallline.train.fit import DTYPES, batch_rows, engine_for, start_model, training_rows
from fallline.train.model import CHUNK, Model
from fallline.train.step import Step, row_scores

PROGRAMS = ("train", "predict")
SORTS = ("order", "time")
RECORDS = ("whether the step is finite", "the loss", "the gradient's norm")  # what a step notes, in order


@dataclass(frozen=True, eq=False, repr=False)
class Compilation(Report):
    """A program as an engine runs it: call by call, with its memory and its code.

    subject  what was compiled, in words;  facts  everything that is printed, as numbers;  sort  "order" or "time"
    """

    subject: str
    facts: ProgramFacts
    sort: str = "order"

    @property
    def title(self) -> str:
        return f"{self.subject}, compiled by the engine {self.facts.engine!r}"

    @property
    def calls(self) -> tuple[CallFacts, ...]:
        """In the order in which they run."""
        return self.facts.calls

    @property
    def table(self) -> Listing:
        """One row for each call, and the sums."""
        return calls_listing(self.facts, self.sort, self.title)

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[CallFacts]:
        return iter(self.calls)

    def __getitem__(self, number: int) -> CallFacts:
        return self.calls[number]

    def frame(self) -> Any:
        """The table as a polars DataFrame of plain numbers: flops, bytes and seconds."""
        return data_listing(self.facts).frame()

    def sections(self) -> list[Section]:
        return sections_of(self.facts, self.sort)


def explain_compile(
    what: Any,
    *data: Any,
    program: str | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "adam",
    l1: float = 0.0,
    l2: float = 0.0,
    penalties: Sequence[Any] = (),
    batch_size: int | str | None = None,
    seed: int = 0,
    precision: str | None = None,
    engine: str | Engine = "auto",
    threads: int | None = None,
    measure: bool = False,
    sort: str = "order",
) -> Compilation:
    """Compiles a program and shows what it has become: its calls and their work, its memory, its code, what is slow.

        fl.explain_compile(network, (X, y), loss="bce", batch_size=32)      the training step of fit
        fl.explain_compile(model, X, program="predict")                     the scores of rows
        fl.explain_compile(f, x, y)                                         any function, on example arrays

    what        a network, a fitted model, a Fit, or a function of Fallline's ops
    program     of a network: "train", the step of an optimizer, or "predict"
    loss … penalties, precision, engine, threads  as in `fit`; a fitted model has its own loss
    batch_size  rows; None: 64 for a step, as many as there are (at most 4096) for a prediction
    measure     also runs each call alone, many times, on one thread: where the time goes
    sort        "order" in which the calls run; "time", the slowest first (needs measure=True)
    """
    _check(sort, SORTS, "sort")
    if sort == "time" and not measure:
        raise ConfigError('sort="time" needs times: add measure=True')
    running = engine_for(engine, threads, precision)
    subject = getattr(what, "model", what)  # of a Fit
    if not isinstance(subject, Model):
        subject = what
    if isinstance(subject, (Model, Layer)):
        chosen = _check(program or "train", PROGRAMS, "program")
        given = _only(data, chosen)
        if chosen == "predict":
            words, sample = _prediction(subject, given, batch_size, precision, seed)
        else:
            added = (*[L1(l1)] * bool(l1), *[L2(l2)] * bool(l2), *penalties)
            model, rows = _training(subject, given, loss, precision, seed)
            words, sample = _step(model, rows, _optimizer(optimizer), added, batch_size, running, seed)
    elif callable(what):
        if program is not None or loss is not None:
            raise ConfigError("a function has neither program nor loss: give a network for these, or leave them out")
        words, sample = _function(what, data, measure)
    else:
        raise ConfigError(f"explain_compile takes a network, a model or a function, given {type(what).__name__}")
    return Compilation(words, _facts(sample, running, measure), sort)


def _facts(sample: Sample, engine: Engine, measure: bool) -> ProgramFacts:
    if engine.name == "numpy":
        return reference_facts(sample, measure)
    if engine.name != "llvm":
        raise ConfigError(f"the engine {engine.name!r} does not tell how it compiles: use engine='llvm' or 'numpy'")
    from fallline.engines.llvm.report import native_facts

    try:
        return native_facts(sample, engine, measure)  # type: ignore[arg-type]
    except (CompileError, ImportError, OSError) as error:  # as the engine itself does
        return reference_facts(sample, measure, f"No native code could be made, so NumPy computes: {error}.")


def _check(value: str, known: tuple[str, ...], name: str) -> str:
    if value not in known:
        raise ConfigError(f"{name}={value!r}: {nearest(str(value), known)}")
    return value


def _only(data: tuple[Any, ...], program: str) -> Any:
    if len(data) != 1:
        wanted = "(X, y), as in fit" if program == "train" else "X, as in predict"
        raise ConfigError(f"explain_compile of a network takes one batch, {wanted}; {len(data)} were given")
    return data[0]


def _optimizer(optimizer: str | Optimizer) -> Optimizer:
    found = as_minimizer(optimizer)
    if not isinstance(found, Optimizer):
        raise ConfigError(f"{found!r} is a solver and takes no training steps: give an optimizer, such as 'adam'")
    return found


# The training step.


def _training(what: Model | Layer, data: Any, loss: Any, precision: str | None, seed: int) -> tuple[Model, Examples]:
    """The model before training, and its rows."""
    if isinstance(what, Model):
        if loss is not None:
            raise ConfigError(f"loss={loss!r}: a fitted model has its own ({what.loss!r}); leave it out")
        _check_dtype(what, precision)
        pair = isinstance(data, (tuple, list)) and len(data) == 2
        x, y = what.rows(*data) if pair else what.rows(data, None)
        return what, Examples(x, y, np.ones(len(y), what.dtype))
    dtype = "float64" if precision == "float64" else "float32"
    train, _, target, chosen = training_rows(what, data, loss=loss, precision=dtype, seed=seed)
    return start_model(what, train, chosen, target, "auto", seed, strict=False), train


def _check_dtype(model: Model, precision: str | None) -> None:
    if precision in DTYPES and precision != model.dtype:
        raise ConfigError(f"precision={precision!r}: the model's weights are {model.dtype}; leave the precision out")


def _step(
    model: Model,
    train: Examples,
    optimizer: Optimizer,
    penalties: Any,
    batch_size: int | str | None,
    engine: Engine,
    seed: int,
) -> tuple[str, Sample]:
    """The step that fit takes, with the first rows as its batch."""
    batch = min(batch_rows(64 if batch_size is None else batch_size, len(train)), len(train))
    step = Step(model.network, model.loss, optimizer, penalties, batch, engine)
    state = step.start(model.network)
    first = train.take(np.arange(batch))
    program = step.program(state, first.x, first.y, first.w)
    rate = optimizer.rate_at(0, steps_per_epoch=1, epochs=1)
    key = step_keys(new_key(seed), np.array([1]))[0]
    scanned = [np.asarray(rate, train.w.dtype), np.asarray(1, train.w.dtype), key]
    carried = [np.asarray(a) for a in step.carried(model.network, state)]
    sample = Sample(
        program,
        [*carried, *scanned, *train.arrays],
        len(carried),
        len(scanned),
        np.arange(batch, dtype=np.int64),
        RECORDS,
    )
    return f"One training step of {batch:,} rows", sample


# Predictions and functions.


def _prediction(
    what: Model | Layer, X: Any, batch_size: int | str | None, precision: str | None, seed: int
) -> tuple[str, Sample]:
    """The scores of the first rows in evaluation mode, as `predict` computes them."""
    if isinstance(what, Model):
        _check_dtype(what, precision)
        network, x = what.network, what.inputs(X)
    else:
        dtype = np.dtype("float64" if precision == "float64" else "float32")
        x = as_inputs(X, what, dtype)
        specs = map_leaves(lambda _, leaf: Spec.of(leaf), x)
        network = what if what.is_filled else what.build(specs, np.random.default_rng(seed))
        network = map_leaves(lambda _, leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, network)
    rows = min(batch_rows(CHUNK if batch_size is None else batch_size, n_rows(x)), n_rows(x))
    x, found = take_rows(x, np.s_[:rows]), leaves(network)
    program = Program.of(
        lambda found, x: row_scores(with_leaves(network, found), x, EVAL), found, x, names=("", "x")
    )  # fmt: skip
    return f"The scores of {rows:,} rows", Sample(program, [*found.values(), *leaves(x).values()])


def _function(f: Callable[..., Any], args: tuple[Any, ...], measure: bool) -> tuple[str, Sample]:
    """A function on arrays like these."""
    given = [leaf for a in args for leaf in leaves(a).values()]
    if measure and any(isinstance(leaf, Spec) for leaf in given):
        raise ConfigError("measure=True runs the function: give arrays in place of Specs")
    program = Program.of(f, *args, names=_names(f, len(args)))
    arrays = [np.zeros((), leaf.dtype) if isinstance(leaf, Spec) else np.asarray(leaf) for leaf in given]
    name = getattr(f, "__name__", type(f).__name__)
    return ("A function" if name == "<lambda>" else f"The function {name}"), Sample(program, arrays)


def _names(f: Callable[..., Any], count: int) -> list[str]:
    """The names of a function's arguments, as far as they can be known."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]


__all__ = ["Compilation", "explain_compile"]
