"""The model file: everything comes back, nothing is executed, and anything but a whole file is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fallline as fl
from fallline.core.errors import ConfigError, ModelFileError
from fallline.data.table import read_table
from fallline.train.intervals import Intervals
from fallline.train.tabular import TableOptions, prepare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
LABELS = np.where(X[:, 0] > 0, "b", "a")
TOWNS = [f"town {i % 40}" for i in range(200)]


@pytest.fixture(scope="module")
def model() -> fl.Model:
    net = fl.Sequential(fl.Dense(40), fl.BatchNorm(), fl.Maxout(8), fl.Dropout(0.1), fl.Dense(1))
    return fl.fit(net, (X, LABELS), epochs=2).model


@pytest.fixture(scope="module")
def table_model() -> fl.Model:
    rng = np.random.default_rng(1)
    table = {"age": rng.normal(40, 9, 200).round(1), "town": TOWNS, "sold": rng.choice(["yes", "no"], 200)}
    return prepare(read_table(table), "sold", TableOptions(epochs=2)).train().fit.model


def test_predictions_come_back_bit_for_bit(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    again = fl.load(path)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert (again.network, again.loss, again.target, again.classes) == (
        model.network,
        model.loss,
        model.target,
        model.classes,
    )


def test_columns_and_embeddings_come_back(table_model, tmp_path):
    again = fl.load(table_model.save(tmp_path))  # a folder gets model.safetensors
    new = {"town": ["town 1", "nowhere"], "age": [None, 99.0]}
    np.testing.assert_array_equal(again.predict_proba(new), table_model.predict_proba(new))
    assert again.columns == table_model.columns
    assert fl.load(tmp_path).classes == ("no", "yes")


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    a, b = model.save(tmp_path / "a.safetensors"), model.save(tmp_path / "b.safetensors")
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_the_file_as_the_umask_says(model, tmp_path):
    """The temporary file that becomes it is its owner's alone."""
    plain = tmp_path / "plain"
    plain.touch()
    assert model.save(tmp_path / "m.safetensors").stat().st_mode == plain.stat().st_mode


def test_the_file_is_plain_safetensors_with_json(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    assert set(load_file(path)) == set(fl.leaves(model.network))
    size = int.from_bytes(path.read_bytes()[:8], "little")
    about = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["fallline"])
    assert about["format"] == 1
    assert about["network"]["type"] == "Sequential"


def test_thresholds_and_intervals_come_back_and_older_files_have_none(model, tmp_path):
    numbers = fl.fit(fl.mlp(()), (X, X[:, 0]), epochs=1).model
    seen = Intervals.of(numbers.loss, numbers.target, numbers.scores(X), X[:, 0])
    again = fl.load(replace(numbers, intervals=seen).save(tmp_path / "n.safetensors"))
    assert again.intervals == seen
    np.testing.assert_array_equal(again.predict_interval(X), replace(numbers, intervals=seen).predict_interval(X))
    often = replace(model, thresholds=(0.999, 0.001))
    assert (fl.load(often.save(tmp_path / "t.safetensors")).predict(X) == "b").all()
    plain = fl.load(model.save(tmp_path / "m.safetensors"))
    assert (plain.thresholds, plain.intervals) == ((), None)
    assert b"thresholds" not in (tmp_path / "m.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="no rows outside training"):
        plain.predict_interval(X)


def test_a_file_cut_short_at_every_kilobyte_is_refused(model, tmp_path):
    whole = model.save(tmp_path / "m.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    assert len(whole) > 3 * 1024
    for size in [0, 1, *range(1024, len(whole), 1024), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(ModelFileError, match="not a whole Fallline model file"):
            fl.load(cut)


def test_a_flipped_bit_is_noticed(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelFileError, match="damaged"):
        fl.load(path)


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="no model at"):
        fl.load(tmp_path / "absent.safetensors")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ModelFileError, match="not a whole Fallline model file"):
        fl.load(tmp_path / "table.csv")
    save_file({"w": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="of another program"):
        fl.load(tmp_path / "other.safetensors")
    save_file({"w": np.zeros(3)}, tmp_path / "future.safetensors", {"fallline": '{"format": 99}'})
    with pytest.raises(ModelFileError, match="model format 99, this version reads 1"):
        fl.load(tmp_path / "future.safetensors")


def test_a_record_that_is_not_defined_here_is_named(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    content = path.read_bytes().replace(b'\\"Maxout\\"', b'\\"Maxxut\\"')
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="no record is called 'Maxxut'"):
        fl.load(path)


def test_a_function_in_the_network_cannot_be_saved_and_says_so(tmp_path):
    fit = fl.fit(fl.Sequential(fl.Dense(3), fl.tanh, fl.Dense(1)), (X, LABELS), epochs=1)
    with pytest.raises(ConfigError, match="cannot be written to a file"):
        fit.save(tmp_path / "m.safetensors")


def test_an_unwritable_place_is_one_line(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="cannot write"):
        model.save(tmp_path / "file" / "m.safetensors")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
