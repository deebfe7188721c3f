"""What every registered loss keeps, generated from the registry; `Loss.sample` and `draw` give instance and inputs."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.autodiff.functions import grad
from fallline.core.errors import DataError, ShapeError
from fallline.core.record import from_json, records_of, to_json
from fallline.graph.check import verify
from fallline.graph.program import Program
from fallline.losses.loss import Loss
from fallline.ops.composite import mean
from tests.tolerance import assert_close

LOSSES = {n: c for n, c in records_of(Loss).items() if c.__module__.startswith("fallline.")}
every_loss = pytest.mark.parametrize("cls", LOSSES.values(), ids=LOSSES)


def drawn(cls, rows=6, dtype="float64"):
    loss = cls.sample()
    score, target = loss.draw(np.random.default_rng(3), rows)
    return loss, score.astype(dtype), target if loss.target_dtype == "int32" else target.astype(dtype)


@every_loss
def test_the_task_is_known(cls):
    assert cls.task in ("classification", "regression")


@every_loss
def test_json_round_trip(cls):
    loss = cls.sample()
    assert from_json(to_json(loss)) == loss


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_number_per_row_in_the_dtype_of_the_score(cls, dtype):
    loss, score, target = drawn(cls, dtype=dtype)
    losses = loss(score, target)
    assert losses.shape == (6,)
    assert losses.dtype == np.dtype(dtype)
    alone = np.concatenate([loss(score[i : i + 1], target[i : i + 1]) for i in range(6)])
    assert_close(losses, alone, "f32" if dtype == "float32" else "f64")


@every_loss
def test_the_program_says_what_the_eager_call_says(cls):
    loss, score, target = drawn(cls)
    program = verify(Program.of(loss, score, target))
    assert_close(program.run(score, target)[0], loss(score, target))


@every_loss
def test_gradient_against_central_differences(cls):
    loss, score, target = drawn(cls)
    f = lambda s: mean(loss(s, target))  # noqa: E731
    assert_close(grad(f)(score), grad(f, mode="numeric")(score), "central")


@every_loss
def test_shapes_that_differ_are_refused_and_shown(cls):
    loss, score, target = drawn(cls)
    column = target[:, None]
    for wrong in (column, target[:-1]):
        with pytest.raises(ShapeError) as error:
            loss(score, wrong)
        assert str(score.shape) in str(error.value)
        assert str(wrong.shape) in str(error.value)
        with pytest.raises(ShapeError):
            Program.of(loss, score, wrong)


@every_loss
def test_finite_for_large_scores(cls):
    loss, score, target = drawn(cls, dtype="float32")
    for size in (loss.finite_to, -loss.finite_to):
        for large in (np.full_like(score, size), np.copysign(np.full_like(score, size), score)):
            assert np.all(np.isfinite(loss(large, target)))
            assert np.all(np.isfinite(grad(lambda s: mean(loss(s, target)))(large)))


@every_loss
def test_targets_that_are_no_finite_numbers_are_refused(cls):
    loss, score, target = drawn(cls)
    loss.check_target(target)
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="row 2"):
            loss(score, np.where(np.arange(6) == 2, bad, target))
    with pytest.raises(DataError, match="encode"):
        loss.check_target(np.array(["yes", "no"]))


@every_loss
def test_the_link_gives_one_prediction_per_score_of_the_target(cls):
    loss, score, target = drawn(cls)
    prediction = loss.predict(score)
    assert prediction.shape in (score.shape, target.shape)
    assert_close(Program.of(loss.predict, score).run(score)[0], prediction)
    if loss.probabilistic:
        assert np.all((prediction > 0) & (prediction < 1))


@every_loss
def test_the_number_of_scores_is_that_of_the_drawn_ones(cls):
    loss, score, target = drawn(cls)
    n_classes = 0 if loss.task == "regression" else (score.shape[1] if score.ndim == 2 else 2)
    assert loss.n_scores(n_classes, 1) == (score.shape[1] if score.ndim == 2 else 1)
    assert loss.target_shape(score.shape) == target.shape
