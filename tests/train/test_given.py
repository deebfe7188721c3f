"""What users hand to fit: each wrong thing is named, each usual form is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError, ShapeError
from tests.tolerance import assert_close

X = np.random.default_rng(0).normal(size=(20, 3))
LABELS = np.where(X[:, 0] > 0, "yes", "no")


def _fit(x: Any = X, y: Any = LABELS, **more: Any) -> Any:
    return fl.fit(fl.Sequential(fl.Dense(1)), (x, y), epochs=1, **more)


def test_targets_as_a_column():
    model = _fit(y=LABELS[:, None]).model
    assert model.evaluate(X, LABELS[:, None]) == model.evaluate(X, LABELS)
    model = _fit(y=X[:, :1]).model
    assert model.evaluate(X, X[:, :1]) == model.evaluate(X, X[:, 0])


def test_one_metric_as_text():
    assert _fit(metrics="auc").history[-1] == _fit(metrics=["auc"]).history[-1]


@pytest.mark.parametrize(
    "x, words",
    [
        ([[1, 2], [3]], "differ in length"),
        (np.zeros((20, 0)), "no columns"),
        (np.ma.masked_array(X, X > 1), "masked"),
        ([[1.0, None]] * 20, "missing cells"),
    ],
)
def test_inputs_that_are_no_numbers(x: Any, words: str):
    with pytest.raises(DataError, match=words):
        _fit(x)


def test_labels_of_two_kinds():
    with pytest.raises(DataError, match="y mixes int and str"):
        _fit(y=np.array([1, "a"] * 10, dtype=object))


@pytest.mark.parametrize(
    "more, words",
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": None}, "seed=None"),
        ({"class_weight": [1, 2]}, "class_weight="),
        ({"class_weight": {"yes": "a"}}, "class_weight of 'yes' is 'a'"),
        ({"callbacks": [3]}, "callbacks holds 3"),
        ({"penalties": [3]}, "penalties holds 3"),
    ],
)
def test_settings(more: dict[str, Any], words: str):
    with pytest.raises(ConfigError) as error:
        _fit(**more)
    assert words in str(error.value)


def test_weights_that_are_text():
    with pytest.raises(DataError, match="sample_weight='a': give one number a row"):
        _fit(sample_weight="a")


def test_one_penalty_without_a_list():
    assert _fit(penalties=fl.L2(0.1)).history[-1] == _fit(penalties=[fl.L2(0.1)]).history[-1]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_is_read_by_name(library, tmp_path):
    frames = pytest.importorskip(library)
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=40) for name in ("age", "height", "weight")}
    frame, turned = frames.DataFrame(data), frames.DataFrame({n: data[n] for n in ("weight", "age", "height")})
    net = fl.Sequential(fl.Dense(1))
    fit = fl.fit(net, (frame, data["age"]), epochs=2, validation=(turned, data["age"]))
    np.testing.assert_array_equal(fit.model.predict(turned), fit.model.predict(frame))
    again = fl.load(fit.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(again.predict(turned), fit.model.predict(frame))
    with pytest.raises(DataError, match="X lacks the columns 'age' that training had"):
        fit.model.predict(turned[["weight", "height"]])


def test_several_arrays_for_a_layer_that_reads_one():
    x = np.zeros((20, 3))
    with pytest.raises(ShapeError, match=r"a layer with weights reads one array, given f32\[2,3\] and f32\[2,3\]"):
        fl.fit(fl.Sequential(fl.Dense(1)), ((x, x), np.arange(20) % 2), epochs=1)


def test_class_weights_count_in_rows_of_your_own_validation_too():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    weighted = fl.fit(fl.Sequential(fl.Dense(1)), (x, y), epochs=1, validation=(x, y), class_weight={1: 3.0})
    by_hand = weighted.model.evaluate(x, y, sample_weight=np.where(y == 1, 3.0, 1.0))["loss"]
    assert_close(weighted.history.best()["validation_loss"], by_hand, "f32")


def test_numbers_whose_sum_is_infinite_are_finite_all_the_same():
    huge = np.full((4, 2), 1e308)
    assert len(fl.fit(fl.Sequential(fl.Dense(1)), (huge, [0, 1, 0, 1]), epochs=0, precision="float64").history) == 1
    huge[2, 1] = -np.inf
    with pytest.raises(fl.FalllineError, match="X holds -inf in row 2, column 1"):
        fl.fit(fl.Sequential(fl.Dense(1)), (huge, [0, 1, 0, 1]), epochs=0, precision="float64")
