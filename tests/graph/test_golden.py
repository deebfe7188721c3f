"""Programs as text, kept in tests/programs/*.txt, so that a change of a generated program shows in the diff.

After a change that is meant:   pytest tests/graph/test_golden.py --update-golden   and read the diff.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fallline.autodiff.functions import grad, jvp
from fallline.core.spec import spec
from fallline.graph.check import verify
from fallline.graph.program import Program
from fallline.graph.show import program_text
from fallline.graph.value import scope
from fallline.ops.composite import log_softmax, mean, relu, softmax
from fallline.ops.index import take_along
from fallline.ops.shape import expand_dims

FOLDER = Path(__file__).parent.parent / "programs"


def dense_relu_gradient() -> Program:
    """The gradient of the mean of relu(x W + b) with respect to W and b."""

    def loss(p: dict[str, Any], x: Any) -> Any:
        with scope("layers.0"):
            y = x @ p["W"] + p["b"]
        with scope("layers.1"):
            y = relu(y)
        return mean(y)

    shapes = {"W": spec((3, 2)), "b": spec((2,))}
    return Program.of(grad(loss), shapes, spec((4, 3)), names=("", "x"))


def cross_entropy_gradient() -> Program:
    """The gradient of the mean cross-entropy with respect to the scores."""

    def loss(score: Any, target: Any) -> Any:
        return -mean(take_along(log_softmax(score), expand_dims(target, -1)))

    return Program.of(grad(loss), spec((4, 3)), spec((4,), "int32"), names=("score", "target"))


GOLDEN: dict[str, Callable[[], Program]] = {
    "softmax": lambda: Program.of(softmax, spec((4, 3)), names=("x",)),
    "softmax_jvp": lambda: Program.of(
        lambda x, t: jvp(softmax, (x,), (t,))[1], spec((3,)), spec((3,)), names=("x", "t")
    ),
    "dense_relu_gradient": dense_relu_gradient,
    "cross_entropy_gradient": cross_entropy_gradient,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_program(name: str, update_golden: bool) -> None:
    text = str(verify(GOLDEN[name]())) + "\n"
    file = FOLDER / f"{name}.txt"
    if update_golden:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), "run with --update-golden if the change is meant"


def test_every_golden_file_has_its_program() -> None:
    assert {f.stem for f in FOLDER.glob("*.txt")} == set(GOLDEN)


def test_names_in_text() -> None:
    """Inputs keep their names, equal names are told apart, small constants stand in place, others are shortened."""
    program = Program.of(
        lambda a, b: a * b + np.arange(6.0) * 2.5 - np.array([1.0]),
        spec(6, "float64"),
        spec(6, "float64"),
        names=("x", "x"),
    )
    text = program_text(program.inputs, program.outputs, program.order)
    assert text.splitlines()[0] == "program(x: f64[6], x#1: f64[6])"
    assert "= multiply(x, x#1)  f64[6]" in text
    assert "constant(0.0, 2.5, … 12.5)" in text
    assert "constant([1.])" in text
