"""fallline train: what it prints, what it keeps, and that it does the same twice."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fallline import __version__
from fallline.data.table import read_table
from fallline.train.history import History
from fallline.train.model import load
from tests.tolerance import assert_close

from .conftest import Call, write_csv

QUICK = ("--epochs", "3")


def test_report_names_every_decision(call: Call, data: Path) -> None:
    told = call("train", data, *QUICK)
    assert told.status == 0
    for words in (
        "data: 80 rows, 4 columns",
        "color   category   2 levels, one-hot",
        "target  label, the last column:",
        '"yes it is" in',
        "2 classes: text, 2 different values",
        "1 sigmoid unit and binary cross-entropy, for two classes",
        "48 train, 16 decide when to stop (validation), 16 judge the result (test)",
        "Dense(units=64)",
        "(n, 64)",
        "then sigmoid",
        "linear baseline (test)",
        "kept in runs/data: model.safetensors, history.csv, curves.svg, result.json",
    ):
        assert words in told.out, words
    assert "3 epochs in" in told.err


def test_parameter_count_is_that_of_the_kept_model(call: Call, data: Path) -> None:
    told = call("train", data, *QUICK, "--hidden", "5")
    d = len(load("runs/data").columns.feature_names)  # type: ignore[union-attr]
    total = (d + 1) * 5 + (5 + 1)
    assert f"in all {total:>{len(told.out)}}".split() in [line.split() for line in told.out.splitlines()]


def test_run_folder(call: Call, data: Path, tmp_path: Path) -> None:
    told = call("train", data, *QUICK, "--out", "some/where")
    folder = tmp_path / "some" / "where"
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [
        "curves.svg",
        "history.csv",
        "model.safetensors",
        "result.json",
    ]
    assert (folder / "curves.svg").read_text(encoding="utf-8").startswith("<svg ")
    history = History.from_csv(folder / "history.csv")
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert "kept in some/where" in told.out
    assert "replaced in some/where" in call("train", data, *QUICK, "--out", "some/where").out


def test_result_agrees_with_the_kept_model(call: Call, data: Path, columns: dict[str, list[Any]]) -> None:
    call("train", data, "--epochs", "10")
    result = json.loads(Path("runs/data/result.json").read_text())
    assert {"task", "target", "rows", "metrics", "baseline", "seconds", "epochs", "engine", "seed"} <= result.keys()
    assert (result["task"], result["target"], result["rows"]) == ("classification", "label", 80)
    assert result["split"] == {"train": 48, "validation": 16, "test": 16}
    assert result["versions"]["fallline"] == __version__
    assert result["versions"]["numpy"] == np.__version__
    assert result["versions"]["python"] == platform.python_version()
    for parts in (result["metrics"], result["baseline"]):
        assert {"accuracy", "auc", "log_loss"} <= parts["test"].keys()
    predicted = load("runs/data").predict(read_table(data))
    right = sum(p == t for p, t in zip(predicted, columns["label"], strict=True))
    by_part = sum(result["metrics"][part]["accuracy"] * n for part, n in result["split"].items())
    assert_close(by_part, right)


def test_same_command_twice_gives_the_same_metrics(call: Call, data: Path) -> None:
    first, second = (json.loads(call("train", data, "--epochs", "8", "--json").out) for _ in range(2))
    assert first["metrics"] == second["metrics"]
    assert first["baseline"] == second["baseline"]
    other = json.loads(call("train", data, "--epochs", "8", "--json", "--seed", "1").out)
    assert other["metrics"] != first["metrics"]


def test_json_stands_alone(call: Call, data: Path) -> None:
    told = call("train", data, *QUICK, "--json")
    printed = json.loads(told.out)
    assert printed == json.loads(Path("runs/data/result.json").read_text())
    assert "epoch" in told.err


def test_json_has_no_nan(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    """The AUC of a part with one class has no value."""
    rare = ["b" if i < 2 else "a" for i in range(80)]
    source = write_csv(tmp_path / "rare.csv", columns | {"label": rare})
    text = call("train", source, *QUICK, "--json").out
    result = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert None in [result["metrics"][part]["auc"] for part in ("validation", "test")]


def test_quiet_prints_nothing(call: Call, data: Path) -> None:
    told = call("train", data, *QUICK, "--quiet")
    assert told == (0, "", "")


def test_no_test_rows(call: Call, data: Path) -> None:
    told = call("train", data, *QUICK, "--test", "0")
    assert "linear baseline (validation)" in told.out
    assert json.loads(Path("runs/data/result.json").read_text())["metrics"]["test"] is None


@pytest.mark.parametrize("target, name", [("x", "x"), ("1", "x"), ("-3", "y"), ("label", "label")])
def test_target_by_name_and_position(call: Call, data: Path, target: str, name: str) -> None:
    result = json.loads(call("train", data, *QUICK, "--json", "--target", target).out)
    assert result["target"] == name
    assert result["task"] == ("classification" if name == "label" else "regression")


def test_regression_metrics(call: Call, data: Path) -> None:
    told = call("train", data, *QUICK, "--target", "x")
    assert "1 linear unit and squared error, for numbers" in told.out
    found = json.loads(Path("runs/data/result.json").read_text())["metrics"]["test"]
    assert {"rmse", "mae", "r2"} <= found.keys()


def test_counts_may_choose_poisson(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    source = write_csv(tmp_path / "counts.csv", columns | {"label": [i % 23 for i in range(80)]})
    told = call("train", source, *QUICK)
    assert "counts: --loss poisson may suit" in told.out
    told = call("train", source, *QUICK, "--loss", "poisson")
    assert "1 exponential unit and poisson, asked for" in told.out


def test_several_classes(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    source = write_csv(tmp_path / "three.csv", columns | {"label": ["abc"[i % 3] for i in range(80)]})
    told = call("train", source, *QUICK)
    assert "softmax over 3 units and categorical cross-entropy, for more than two classes" in told.out


def test_linear_model_by_no_hidden_units(call: Call, data: Path) -> None:
    assert json.loads(call("train", data, *QUICK, "--hidden", "none", "--json").out)["options"]["hidden"] == []


def test_options_are_kept(call: Call, data: Path) -> None:
    flags = ("--hidden", "7,3", "--activation", "gelu", "--batch-size", "full", "--validation", "20", "--test", "0.1")
    result = json.loads(call("train", data, *QUICK, *flags, "--schedule", "cosine(0.01)", "--json").out)
    options = result["options"]
    assert (options["hidden"], options["activation"], options["batch_size"]) == ([7, 3], "gelu", "full")
    assert result["split"] == {"train": 52, "validation": 20, "test": 8}
    assert options["schedule"] == "cosine(0.01)"


def test_wrappers_around_an_optimizer(call: Call, data: Path) -> None:
    """Texts nest; the ensemble of the snapshots is the model that predicts."""
    text = "snapshots(clip-norm(adam(0.01), max_norm=2.0), cycles=2)"
    told = call("train", data, *QUICK, "--optimizer", text, "--json")
    assert json.loads(told.out)["options"]["optimizer"] == text
    model = load("runs/data")
    assert len(model.network.members) == 2
    assert call("predict", "runs/data", data).status == 0


def test_stop_on_a_value_that_is_not_finite_is_one_warning(call: Call, data: Path) -> None:
    """The rate explodes after epoch 4: the weights of a finite epoch are kept, and the result says why."""
    blast = ("--optimizer", "sgd", "--schedule", "piecewise((0.1, 1e30), boundaries=(4,))")
    told = call("train", data, "--epochs", "10", "--quiet", *blast)
    assert told.status == 0
    assert told.err.startswith("warning: ")
    assert told.err.count("\n") == 1
    result = json.loads(Path("runs/data/result.json").read_text())
    assert "not finite" in result["stopped"]
    assert 1 <= result["best_epoch"] <= 4
    assert np.isfinite(list(result["metrics"]["test"].values())).all()


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "iris", "digits", "diabetes", "simulated-heart"])
def test_packaged_sets(call: Call, name: str) -> None:
    told = call("train", name, "--epochs", "5" if name == "digits" else "20")
    assert told.status == 0
    assert "the set's own target" in told.out
    if name == "digits":
        assert "pixel_0_1 … pixel_7_7" in told.out, "a wide table is shown in runs"
    assert load(f"runs/{name}").evaluate(read_table(name))["loss"] > 0


def test_packaged_set_with_another_target(call: Call) -> None:
    """The task that the set knows is that of its own target."""
    result = json.loads(call("train", "iris", *QUICK, "--target", "1", "--json").out)
    assert (result["task"], result["target"]) == ("regression", "sepal length (cm)")


def test_linear_baseline_that_does_no_worse_is_named(call: Call, data: Path) -> None:
    told = call("train", data, "--epochs", "60", "--learning-rate", "1e-9")
    assert "By log loss the linear baseline does no worse here: --hidden none trains it" in told.out
    told = call("train", data, "--epochs", "60", "--learning-rate", "1e-9", "--hidden", "none")
    assert "no worse" not in told.out
