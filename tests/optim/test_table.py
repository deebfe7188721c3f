"""The page that maps other libraries' optimizers to ours names all of them, and all of ours."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import fallline as fl
from fallline.core.record import RECORDS, records_of
from fallline.optim.optimizer import Minimizer
from fallline.optim.schedules import Schedule

PAGE = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text(encoding="utf-8")
PARTS = dict(zip(re.findall(r"^### (\w+)", PAGE, re.M), re.split(r"^### \w+\n", PAGE, flags=re.M)[1:], strict=True))


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def missing(names: Any, part: str) -> list[str]:
    return sorted(set(names) - named(PARTS[part]))


def test_the_page_names_every_optimizer_of_ours():
    ours = {n for base in (Minimizer, Schedule) for n, c in records_of(base).items() if c.__module__[:9] == "fallline."}
    texts = {re.sub(r"\W|_", "", word).lower() for word in re.findall(r"`([\w(.)]+)`", PAGE)}
    alias = lambda name: {name.lower(), *(a.replace("_", "") for a in getattr(fl, name).aliases)}  # noqa: E731
    assert sorted(name for name in ours if not alias(name) & texts) == []


@pytest.mark.parametrize("part", ["ensmallen", "Optax", "PyTorch", "Keras"])
def test_what_the_tables_point_to_is_there(part):
    """The right column of every row names records, or says "–" and why not."""
    rows = [row.split("|")[1:3] for row in PARTS[part].splitlines() if row.startswith("| `")]
    assert len(rows) > 10
    for theirs, here in rows:
        pointed = [name for name in named(here) if name[0].isupper()]
        if not here.strip().startswith("–, "):
            assert [name for name in pointed if name not in RECORDS and name != "Signum"] == [], theirs
        assert pointed or here.strip().startswith(("–, ", "the ", "nested ")), theirs
        assert not here.strip().startswith("–, ") or len(here) > 20, theirs


def test_pytorch():
    torch = pytest.importorskip("torch")
    classes = lambda module: {  # noqa: E731
        n
        for n, c in vars(module).items()
        if inspect.isclass(c) and c.__module__.startswith("torch.optim") and n[0] != "_"
    }
    assert missing(classes(torch.optim) - {"Optimizer"}, "PyTorch") == []
    assert missing(classes(torch.optim.lr_scheduler) - {"LRScheduler", "Optimizer"}, "PyTorch") == []
    assert missing({"AveragedModel", "SWALR"}, "PyTorch") == []


def test_optax():
    optax = pytest.importorskip("optax")

    def makes_one(function: Any) -> bool:
        try:
            return "GradientTransformation" in str(inspect.signature(function).return_annotation)
        except (TypeError, ValueError):
            return False

    found = {
        n for m in (optax, optax.contrib) for n in dir(m) if n[0].islower() and inspect.isfunction(getattr(m, n))
        and makes_one(getattr(m, n))
    }  # fmt: skip
    assert len(found) > 100
    assert missing(found | {"dog", "dowg", "MultiSteps"}, "Optax") == []


def test_keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", exc_type=ImportError)
    for module, left_out in ((keras.optimizers, {"Optimizer", "OptimizerMap"}), (keras.optimizers.schedules, set())):
        names = {n for n, c in vars(module).items() if inspect.isclass(c) and n[0].isupper()}
        assert missing(names - left_out - {"LearningRateSchedule"}, "Keras") == []
