"""Presets: what each changes, what a user may change, and what is said of rows that stay wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError, UnknownNameError
from fallline.core.record import as_record, from_json, to_json
from fallline.losses.loss import Loss
from fallline.optim.optimizer import Minimizer
from fallline.train.events import EpochEnded
from fallline.train.presets import PRESETS
from tests.tolerance import assert_close

X = np.random.default_rng(0).normal(size=(60, 2))
LABELS = np.where(X[:, 0] > 0.1, "yes", "no")
every_preset = pytest.mark.parametrize("preset", PRESETS, ids=[p.name for p in PRESETS])


@every_preset
def test_every_preset_trains_and_answers_in_the_users_terms(preset):
    y = X[:, 0] if preset.name == "linear_regression" else LABELS
    model = preset.fit((X, y)).model
    assert model.predict(X).dtype.kind == ("f" if preset.name == "linear_regression" else "U")
    if preset.name != "linear_regression":
        assert model.evaluate(X, y)["accuracy"] > 0.9


@every_preset
def test_every_preset_names_what_exists_and_survives_json(preset):
    assert from_json(to_json(preset)) == preset
    for loss in filter(None, (preset.loss, preset.many)):
        assert isinstance(as_record(loss, Loss), Loss)
    assert isinstance(as_record(preset.optimizer, Minimizer), Minimizer)


def test_every_choice_can_be_replaced():
    seen = []
    fitted = fl.preset("adaline").fit(
        (X, LABELS), loss="hinge", optimizer="adam", learning_rate=0.05, batch_size=30, epochs=4, hidden=(3,),
        callbacks=seen.append, validation=0.25,
    )  # fmt: skip
    assert isinstance(fitted.model.loss, fl.Hinge)
    assert len(fitted.model.network.layers) == 3
    rows = [event.row for event in seen if isinstance(event, EpochEnded)]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert_close(rows[-1]["learning_rate"], 0.05)
    assert "validation_loss" in fitted.history


def test_the_recipe_of_a_preset():
    assert fl.preset("perceptron").network() == fl.Sequential(fl.Dense(1, init="zeros"))
    assert fl.preset("mlp").network(3, activation="tanh") == fl.mlp((64,), 3, "tanh")


def test_the_penalty_of_the_svm_counts_rows_and_can_be_replaced():
    """λ/(2m) Σw² with λ = 1: the weights are those of an explicit l2 = 1/60."""
    by_count, explicit, none = (
        fl.preset("svm").fit((X, LABELS), epochs=5, **kw).model.network.layers[0].W
        for kw in ({}, {"l2": 1 / 60}, {"l2": 0})
    )
    np.testing.assert_array_equal(by_count, explicit)
    assert np.any(by_count != none)


def test_more_classes_change_the_loss_of_logistic_regression():
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    assert isinstance(fl.preset("logistic").fit((X, y)).model.loss, fl.CategoricalCrossEntropy)
    with pytest.raises(ConfigError, match="Hinge takes 2 classes, the target has 3"):
        fl.preset("linear_svm").fit((X, y))


def test_a_perceptron_that_was_stopped_too_early_says_how_many_rows_are_wrong():
    y = np.where(X[:, 0] + 0.01 * X[:, 1] > 0.7, 1, 0)
    with pytest.warns(UserWarning, match=r"row(s are| is) still wrong after 1 epoch:.*or it takes more epochs"):
        fitted = fl.preset("perceptron").fit((X, y), epochs=1)
    assert fitted.reason.startswith(f"{np.sum(fitted.model.predict(X) != y)} of 60 row")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fl.preset("perceptron").fit((X, y), epochs=2000).reason == "every row is on its side of the line"


def test_the_presets_stay_as_they_are():
    with pytest.raises(TypeError):
        fl.preset("mlp").choices["hidden"] = (7,)
    with pytest.raises(AttributeError):
        fl.preset("mlp").choices.update(hidden=(7,))
    own = {"hidden": (3,)}
    mine = fl.preset("mlp").replace(choices=own)
    own["hidden"] = (4,)
    assert mine.network() == fl.mlp((3,))
    assert fl.preset("mlp").network() == fl.mlp((64,))
    assert hash(mine) != hash(fl.preset("mlp"))


def test_a_keyword_that_mlp_does_not_have_is_answered():
    with pytest.raises(ConfigError, match="mlp has no keyword 'dropot': did you mean 'dropout'"):
        fl.preset("mlp").network(dropot=0.1)


def test_names_are_found_in_any_spelling_and_wrong_ones_answered():
    assert fl.preset("Linear SVM") == fl.preset("svm") == fl.preset("linear_svm")
    with pytest.raises(UnknownNameError, match="no preset is called 'percepton': did you mean 'perceptron'"):
        fl.preset("percepton")


def test_data_must_be_a_pair_of_equally_many_rows():
    with pytest.raises(DataError, match=r"a pair \(X, y\), given ndarray"):
        fl.preset("mlp").fit(X)
    with pytest.raises(DataError, match=r"X has 60 rows and y shape \(59,\)"):
        fl.preset("mlp").fit((X, LABELS[1:]))


def test_the_list_fits_a_terminal():
    for width in (80, 200):
        assert max(map(len, fl.presets().text(width).splitlines())) <= width
    assert "Rosenblatt 1958" in fl.presets().text(250)
    assert fl.presets().frame().height == len(PRESETS)
