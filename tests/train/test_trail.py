"""Trail and restarts: how the way turns, the path that is kept, the best of several starts."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.train.history import History
from fallline.train.trail import Trail, joined, parted
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
LABELS = X[:, 0] * X[:, 1] > 0
NUMBERS = X @ np.array([1.0, 2.0, 3.0])


def mlp(units=3):
    return fl.Sequential(fl.Dense(units), fl.Tanh(), fl.Dense(1))


def at(W, b):
    return fl.Dense(2).replace(W=np.array(W, np.float64), b=np.array(b, np.float64))


def test_the_direction_is_the_cosine_between_two_changes():
    trail = Trail(keep=True)
    places = [
        at([[0.0, 0.0]], [0.0, 0.0]),
        at([[1.0, 0.0]], [0.0, 0.0]),
        at([[1.0, 2.0]], [0.0, 0.0]),
        at([[1.0, 2.0]], [3.0, 0.0]),
        at([[1.0, 2.0]], [-3.0, 0.0]),
        at([[1.0, 2.0]], [-3.0, 0.0]),
        at([[1.0, 2.0]], [-4.0, 1.0]),
        at([[1.0, 2.0]], [-4.0, 2.0]),
    ]
    turns = [trail.note(fl.leaves(place, "param").values()) for place in places]
    assert turns[:2] == [None, None], "one change has none before it"
    assert_close(turns[2:5], [0.0, 0.0, -1.0])
    assert turns[5:7] == [None, None], "a change of nothing has no direction"
    assert_close(turns[7], np.sqrt(0.5))
    assert_close(trail.path[3], [1.0, 2.0, 3.0, 0.0])


def test_the_path_is_the_weights_of_every_epoch():
    fit = fl.fit(mlp(), (X, LABELS), epochs=3, keep_path=True)
    assert fit.path.shape == (4, 3 * 3 + 3 + 3 + 1)
    assert fit.path.dtype == np.float64
    last = np.concatenate([leaf.ravel() for leaf in fl.leaves(fit.model.network, "param").values()])
    assert_close(fit.path[-1], last, "exact")
    untrained = fl.fit(mlp(), (X, LABELS), epochs=0, keep_path=True)
    assert_close(untrained.path, fit.path[:1], "exact")
    assert fl.fit(mlp(), (X, LABELS), epochs=1).path is None
    steps = np.diff(fit.path, axis=0)
    cosine = steps[1] @ steps[2] / np.linalg.norm(steps[1]) / np.linalg.norm(steps[2])
    assert_close(fit.history["direction"][3], cosine, "f32")


def test_the_column_stands_beside_the_gradient_and_is_blank_where_undefined(tmp_path):
    fit = fl.fit(mlp(), (X, LABELS), epochs=3, validation=0.3)
    assert fit.history.names[:5] == ["epoch", "learning_rate", "gradient_norm", "direction", "train_loss"]
    assert np.isnan(fit.history["direction"][:2]).all()
    assert "nan" not in str(fit.history)
    fit.history.to_csv(tmp_path / "h.csv")
    lines = (tmp_path / "h.csv").read_text().splitlines()
    assert lines[1].split(",")[3] == ""
    assert History.from_csv(tmp_path / "h.csv") == fit.history
    assert max(map(len, str(fit.history).splitlines())) <= 80


def test_epochs_0_is_the_untrained_model_with_one_row():
    fit = fl.fit(mlp(), (X, LABELS), epochs=0, validation=0.3, metrics="auc", early_stopping=True)
    assert len(fit.history) == 1
    assert fit.best_epoch == 0
    assert fit.reason == "no epoch was asked for"
    assert {"gradient_norm", "train_loss", "validation_loss", "validation_auc"} <= set(fit.history[0])
    again = fl.fit(mlp(), (X, LABELS), epochs=5, validation=0.3, metrics="auc")
    assert again.history[0] == fit.history[0]
    scheduled = fl.fit(mlp(), (X, LABELS), epochs=0, optimizer=fl.Adam(fl.Cosine(0.1)))
    assert scheduled.history[0]["learning_rate"] == 0.1
    for optimizer in ("newton", "random"):
        assert len(fl.fit(mlp(), (X, LABELS), epochs=0, optimizer=optimizer).history) == 1
    with pytest.raises(ConfigError, match="epochs=-1: epochs must be a whole number of at least 0"):
        fl.fit(mlp(), (X, LABELS), epochs=-1)


@pytest.mark.parametrize("method", ["adam(0.05)", "newton", "random(trials=5)"])
def test_a_printed_fit_tells_where_all_starts_led(method):
    fit = fl.fit(mlp(), (X, LABELS), optimizer=method, epochs=2, restarts=3)
    best, worst = min(fit.restarts.columns["train loss"]), max(fit.restarts.columns["train loss"])
    printed = str(fit)
    assert printed.startswith(f"{fit.reason}; the weights of epoch {fit.best_epoch} are kept: train loss {best:.4g}")
    assert f"{best:.6g} at best, {worst:.6g} at worst, a spread of {worst - best:.3g}" in printed
    assert "\n" not in str(fl.fit(mlp(), (X, LABELS), epochs=1))


def test_restarts_are_the_fits_of_the_seeds_and_the_best_is_kept():
    options = {"epochs": 4, "optimizer": fl.Adam(0.05)}
    best = fl.fit(mlp(), (X, LABELS), restarts=4, seed=5, **options)
    alone = [fl.fit(mlp(), (X, LABELS), seed=seed, **options) for seed in range(5, 9)]
    losses = [fit.history["train_loss"][-1] for fit in alone]
    assert best.restarts.columns["seed"] == [5, 6, 7, 8]
    assert_close(best.restarts.columns["train loss"], losses, "exact")
    chosen = alone[int(np.argmin(losses))]
    assert best.history == chosen.history
    assert best.restarts.columns[""].index("best") == np.argmin(losses)
    assert f"{min(losses):.6g} at best" in best.restarts.note
    assert fl.fit(mlp(), (X, LABELS), **options).restarts is None


def test_with_validation_rows_these_decide_and_they_are_the_same_for_all_starts():
    best = fl.fit(mlp(), (X, LABELS), restarts=3, epochs=6, validation=0.3, optimizer=fl.Adam(0.05))
    losses = best.restarts.columns["validation loss"]
    assert_close(best.history["validation_loss"][best.best_epoch], min(losses), "exact")
    alone = fl.fit(mlp(), (X, LABELS), epochs=6, validation=0.3, optimizer=fl.Adam(0.05))
    assert losses[0] == alone.history["validation_loss"][alone.best_epoch]


def test_a_solver_can_start_again_too_and_keeps_its_path():
    fit = fl.fit(mlp(), (X, LABELS), optimizer="newton", epochs=5, restarts=2, keep_path=True)
    assert len(fit.restarts) == 2
    assert len(fit.path) == len(fit.history)


def test_what_cannot_start_again_is_refused():
    filled = mlp().build(fl.spec((2, 3), "float32"), 0)
    with pytest.raises(ConfigError, match="restarts=3 of a network that has its weights already: give a recipe"):
        fl.fit(filled, (X, LABELS), restarts=3)
    with pytest.raises(ConfigError, match="restarts=0: restarts must be a whole number of at least 1"):
        fl.fit(mlp(), (X, LABELS), restarts=0)


def test_a_start_that_fails_is_left_out_and_all_that_fail_are_an_error():
    """exp of more than 88 is infinite in float32: the start of the weight decides."""
    network = fl.Sequential(fl.Dense(1, init=fl.Normal(1.0)), fl.exp)
    data, options = (np.full((20, 1), 100.0), np.ones(20)), {"epochs": 1, "optimizer": fl.SGD(0.0), "loss": "mae"}
    good = [seed for seed in range(12) if np.random.default_rng(seed).normal() < 0.88]
    assert 0 < len(good) < 12
    fit = fl.fit(network, data, restarts=12, **options)
    assert fit.restarts.columns["seed"] == good
    bad = next(seed for seed in range(12) if seed not in good)
    with pytest.raises(fl.FalllineError, match="op exp"):
        fl.fit(network, data, restarts=1, seed=bad, **options)
    with pytest.raises(fl.FalllineError, match="op exp"):
        fl.fit(network, (data[0] * 1e3 * np.array([[1.0], [-1.0]] * 10), data[1]), restarts=3, **options)


def test_a_callback_that_ends_training_at_once_ends_all_starts():
    fit = fl.fit(mlp(), (X, LABELS), restarts=3, callbacks=[lambda _: fl.Stop("no")])
    assert (fit.ended, fit.reason, len(fit.history), fit.restarts) == ("stopped", "no", 0, None)


def test_a_vector_is_parted_as_it_was_joined():
    like = {"W": np.zeros((2, 3), np.float32), "b": np.zeros(3), "c": np.zeros(())}
    vector = np.arange(10.0)
    made = parted(vector, like)
    assert {path: (a.shape, a.dtype) for path, a in made.items()} == {k: (a.shape, a.dtype) for k, a in like.items()}
    assert_close(joined(made.values()), vector, "exact")
    assert parted(np.zeros(0), {}) == {}
