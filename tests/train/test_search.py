"""search: the ranking is that of the trials, the draw is fixed by the seed, failures are told and not hidden."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.train.search import _parts
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2))
Y = X[:, 0] * X[:, 1] + 0.05 * RNG.normal(size=90)
LABELS = np.where(Y > 0, "b", "a")


def test_trials_are_ranked_by_the_validation_loss_and_the_best_is_trained_on_all_rows():
    found = fl.search((X, Y), hidden=[(), (8,)], learning_rate=[1e-4, 0.03], epochs=40, activation="tanh")
    losses = found.columns["validation loss"]
    assert losses == sorted(losses)
    assert losses == [fit.history.best()["validation_loss"] for fit in (o.fits[0] for o in found.outcomes)]
    assert found.best is found.outcomes[0]
    assert (found.best.choices["hidden"], found.best.choices["learning_rate"]) == ((8,), 0.03)
    assert found.columns["hidden"][0] == "8"
    assert found.fit.history[-1]["epoch"] == found.outcomes[0].fits[0].best_epoch
    again = fl.fit(fl.mlp(8, activation="tanh"), (X, Y), optimizer="adam(0.03)", epochs=found.fit.history[-1]["epoch"])
    np.testing.assert_array_equal(again.model.predict(X), found.fit.model.predict(X))


def test_a_random_part_of_the_grid_is_drawn_by_the_seed_without_repetition():
    space = {"hidden": [(1,), (2,), (3,)], "activation": ["relu", "tanh", "sigmoid"], "dropout": [0.0, 0.1]}

    def drawn(seed):
        found = fl.search((X, Y), space, trials=6, epochs=1, seed=seed)
        return {(o.choices["hidden"], o.choices["activation"], o.choices["dropout"]) for o in found.outcomes}

    assert len(drawn(1)) == 6
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(fl.search((X, Y), hidden=[1, 2], trials=50, epochs=1)) == 2  # no more than there are


@pytest.mark.parametrize("y", [Y, LABELS], ids=["numbers", "classes"])
def test_folds_judge_every_row_once(y):
    found = fl.search((X, y), hidden=[(2,), (4,)], folds=3, epochs=2)
    for i, outcome in enumerate(found.outcomes):
        losses = outcome.metrics["validation"]["loss"]
        assert losses.shape == (3,)
        assert_close(found.columns["validation loss"][i], losses.mean())
        assert_close(found.columns["±"][i], losses.std(ddof=1))


def test_folds_share_the_classes_out():
    y = np.repeat(["a", "b", "c"], [60, 24, 6])
    parts = _parts((X, y), 3, 0.2, 0)
    rows = np.concatenate([part.validation[0] for part in parts])
    assert len(np.unique(rows, axis=0)) == len(X)
    for part in parts:
        assert [int(np.sum(part.validation[1] == c)) for c in "abc"] == [20, 8, 2]
        assert len(part.train[1]) == 60


def test_different_losses_are_compared_by_a_metric():
    classes = fl.search((X, LABELS), loss=["bce", "hinge"], hidden=(4,), epochs=5)
    assert "validation accuracy" in classes.columns
    numbers = fl.search((X, Y), loss=["mse", "mae", "huber"], hidden=(4,), epochs=5)
    errors = numbers.columns["validation rmse"]
    assert errors == sorted(errors)
    by_auc = fl.search((X, LABELS), hidden=[(2,), (4,)], by="auc", epochs=5)
    assert by_auc.columns["validation auc"] == sorted(by_auc.columns["validation auc"], reverse=True)


def test_early_stopping_is_a_choice_like_any_other():
    """A patience of 1 ends before one of 30, and the network on all rows is trained as long as was best."""
    found = fl.search((X, Y), {"early_stopping": [1, 30]}, hidden=(8,), epochs=40, optimizer="sgd(0.5)")
    length = {o.choices["early_stopping"]: o.fits[0].history[-1]["epoch"] for o in found.outcomes}
    assert length[1] < length[30]
    assert found.fit.history[-1]["epoch"] == found.best.fits[0].best_epoch


def test_a_trial_that_fails_stands_last_with_its_reason():
    found = fl.search((X, Y), optimizer=["newton", "adam"], learning_rate=0.01, hidden=(2,), epochs=2)
    assert found.columns["optimizer"] == ["adam", "newton"]
    assert found.columns["validation loss"][1] is None
    assert "Not trained, rank 2: learning_rate=0.01: Newton() finds its steps itself" in found.note
    assert "Not trained" in found.text(80)


@pytest.mark.parametrize(
    "asked, error, told",
    [
        ({"hidden": (3,)}, ConfigError, "space has nothing to search: give a list"),
        ({"hidden": [], "dropout": [0.1]}, ConfigError, "hidden has nothing to search"),
        ({"hiden": [(3,)]}, ConfigError, "no choice is called 'hiden': did you mean 'hidden'"),
        ({"sample_weight": [1.0]}, ConfigError, "sample_weight belongs to single rows"),
        ({"hidden": list(range(1, 300))}, ConfigError, "the grid has 299 trials, more than 200: give trials=50"),
        ({"hidden": [1], "trials": 0}, ConfigError, "trials=0: trials must be a whole number of at least 1"),
        ({"hidden": [1], "by": "acuracy"}, ConfigError, "by='acuracy': did you mean 'accuracy'"),
        ({"hidden": [1], "by": "rmse"}, ConfigError, "by='rmse': known: accuracy, auc, log_loss, loss"),
        (
            {"hidden": [1], "validation": 0},
            ConfigError,
            "validation=0 leaves no rows to judge by: give a share above 0",
        ),
        ({"hidden": [1], "validation": None}, ConfigError, "validation=None leaves no rows"),
        (
            {"space": {"hidden": [1], "validation": 0.5}},
            ConfigError,
            "space holds validation=0.5: .* keyword of search",
        ),
        ({"space": {"validation": [0.5, 0.2]}}, ConfigError, r"space holds validation=\[0.5, 0.2\]"),
        ({"hidden": [1], "folds": 1}, DataError, "folds=1 of 90 rows: give a whole number from 2"),
        ({"dropout": [2.0, 3.0]}, ConfigError, r"all 2 trials failed, the first with: Dropout\(rate=2.0\)"),
    ],
)
def test_what_cannot_be_searched_is_said(asked, error, told):
    with pytest.raises(error, match=told):
        fl.search((X, LABELS), **asked)


def test_the_table_fits_a_terminal():
    found = fl.search((X, Y), hidden=[(2,), (3, 3)], activation=["relu", "tanh"], learning_rate=[0.01, 0.1], epochs=1)
    assert max(map(len, found.text(80).splitlines())) <= 80
    assert found.frame().height == 8
