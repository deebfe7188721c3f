"""One row explained: values by the network itself, partials against central differences, cells in the user's words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.core.lines import columns_of
from fallline.data.encoders import NumberColumn
from fallline.explain.reports.row_text import inputs_listing
from fallline.train.model import score_rows
from fallline.train.tabular import TableOptions, prepare
from tests.tolerance import assert_close

STEP = 1e-6  # of central differences in float64
N = 90


def patients(n: int = N) -> dict[str, Any]:
    """Numbers, one with a heavy tail, one with missing cells, a category with missing cells, many cities."""
    rng = np.random.default_rng(11)
    age, bp = rng.uniform(30, 80, n), rng.normal(130, 15, n)
    pain = rng.choice(["typical", "none", "other"], n)
    cost = np.round(np.exp(rng.normal(3, 2, n)), 2)
    risk = (age - 55) / 10 + (pain == "typical") + rng.normal(size=n) / 2
    return {
        "Age": np.round(age, 1),
        "BP": np.where(rng.random(n) < 0.2, np.nan, np.round(bp, 1)),
        "Cost": cost,
        "Pain": [None if i % 9 == 4 else str(p) for i, p in enumerate(pain)],
        "City": [f"city {i % 40}" for i in range(n)],
        "AHD": np.where(risk > 0, "Yes", "No"),
    }


def trained(columns: dict[str, Any], target: str, **options: Any) -> Any:
    """A small model of the table, its weights in float64, so that differences are sharp."""
    chosen = TableOptions(hidden=(6,), epochs=4, **{"activation": "tanh", "validation": 0.2, "test": 0, **options})
    model = prepare(fl.read_table(columns), target, chosen).train().fit.model
    wide = fl.map_leaves(lambda _, w: w.astype(np.float64), model.network)
    return replace(model, network=wide)


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return patients()


@pytest.fixture(scope="module")
def model(table: dict[str, Any]) -> Any:
    return trained(table, "AHD")


@pytest.fixture(scope="module")
def told(model: Any, table: dict[str, Any]) -> Any:
    return fl.explain_row(model, table, row=3)


def differences(f: Any, x: np.ndarray) -> np.ndarray:
    """df/dx entry by entry, by central differences."""
    found = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += STEP
        down[at] -= STEP
        found[at] = (f(up) - f(down)) / (2 * STEP)
    return found


def test_partials_of_the_prediction_and_of_the_loss(told: Any, model: Any) -> None:
    """Against central differences through the model's own scores, for every number that the network reads."""
    numbers, codes = model.inputs(told.data)

    def chance(x: np.ndarray) -> float:
        return float(model.probabilities(score_rows(model.network, (x, codes), "auto"))[0, told.goal.code])

    assert_close(told.gradient("x"), differences(chance, numbers), "central")
    assert told.actual == told.prediction
    assert_close(told.loss_gradient("x"), differences(lambda x: -np.log(chance(x)), numbers), "central")


def test_partials_of_the_weights(told: Any, model: Any) -> None:
    """Against central differences, for every weight; the table of one array has them all, the largest first."""
    x = model.inputs(told.data)
    for path, w in fl.leaves(model.network, "param").items():

        def chance(changed: np.ndarray, path: str = path) -> float:
            network = fl.with_leaves(model.network, {path: changed})
            return float(model.probabilities(score_rows(network, x, "auto"))[0, told.goal.code])

        assert_close(told.gradient(path), differences(chance, w), "central")
    opened = told.open("layers.1.W")
    sizes = np.abs(np.array(opened.columns["dP/dw"], float))
    assert (np.diff(sizes) <= 0).all()


def test_the_slope_of_a_column_is_that_of_its_encoding(model: Any, table: dict[str, Any]) -> None:
    given = fl.read_table(table)
    for column in model.columns.fitted:
        if not hasattr(column, "slope"):
            continue
        x = np.array(table[column.name], float)
        up, down = (column.encode(fl.read_table({column.name: x + h}))[:, 0] for h in (STEP, -STEP))
        present = ~np.isnan(x)
        assert_close(column.slope(given)[present], ((up - down) / (2 * STEP))[present], "central")
        assert np.isnan(column.slope(given)[~present]).all()


@pytest.mark.parametrize("transform", ["none", "log", "clip"])
def test_the_slope_is_0_where_a_number_is_held_at_the_edge(transform: str) -> None:
    column = NumberColumn("x", center=1.0, scale=2.0, transform=transform, low=-1.0, high=3.0)
    x = np.array([-0.7, 0.4, 2.9, 6.0, 100.0, -100.0])
    up, down = (column.encode(fl.read_table({"x": x + h}))[:, 0] for h in (STEP, -STEP))
    slope = column.slope(fl.read_table({"x": x}))
    assert_close(slope, (up - down) / (2 * STEP), "central")
    assert (slope[:3] > 0).all()
    assert (slope[-2:] == 0).all()


def test_partials_per_unit_of_the_cell(told: Any, table: dict[str, Any]) -> None:
    for name in ("Age", "Cost"):
        column = next(c for c in told.model.columns.fitted if c.name == name)
        slope = column.slope(told.data)[0]
        assert_close(told[name].per_unit, told[name].partial * slope)
        assert_close(told[name].loss_per_unit, told[name].loss_partial * slope)
        assert float(told[name].cell) == table[name][3]
    assert next(c for c in told.model.columns.fitted if c.name == "Cost").transform == "log"


def test_inputs_come_by_size_with_their_cells(told: Any, table: dict[str, Any]) -> None:
    sizes = [abs(i.partial) for i in told.inputs]
    assert sizes == sorted(sizes, reverse=True)
    assert {i.name for i in told.inputs} == {"Age", "BP", "Cost", "Pain", "City"}
    assert told["Pain"].cell == table["Pain"][3]
    assert told["Pain"].per_unit is None
    assert told["City"].reads.startswith("vector of")
    shown = inputs_listing(told)
    assert shown.columns["column"] == [i.name for i in told.inputs]


def test_a_missing_cell(model: Any, table: dict[str, Any]) -> None:
    row = int(np.flatnonzero(np.isnan(table["BP"]))[0])
    told = fl.explain_row(model, table, row=row)
    found = told["BP"]
    fill = next(c for c in model.columns.fitted if c.name == "BP").fill
    assert found.cell == "(missing)"
    assert f"(fill {fill:g})" in found.reads
    assert found.per_unit is None
    assert found.partial != 0
    numbers, codes = model.inputs(told.data)
    at = model.columns.feature_names.index("BP missing")
    assert numbers[0, at] == 1

    def chance(x: np.ndarray) -> float:
        return float(model.probabilities(score_rows(model.network, (x, codes), "auto"))[0, told.goal.code])

    mark = told["BP missing"]
    assert (mark.cell, mark.reads, mark.z, mark.per_unit) == ("(missing)", "1", 1.0, None)
    assert_close(mark.partial, differences(chance, numbers)[0, at], "central")
    assert_close(mark.loss_partial, told.loss_gradient("x")[0, at])
    assert "BP missing" in inputs_listing(told).columns["column"]
    assert "as a 1 that says so" in " ".join(told.text().split())
    absent = fl.explain_row(model, table, row=4)["Pain"]
    assert absent.cell == "(missing)"
    assert "one-hot, 4 of 4" in absent.reads


def test_another_category_is_computed_anew(model: Any, table: dict[str, Any]) -> None:
    told = fl.explain_row(model, table, row=3)
    found = told.switches.columns
    for name in ("Pain", "City"):
        rows = [
            i for i, column in enumerate(found["column"]) if column == name and "missing" not in found["instead"][i]
        ]
        assert len(rows) > 1
        for i in rows[:5]:
            changed = {c: [cells[3]] for c, cells in table.items()} | {name: [found["instead"][i]]}
            p = model.predict_proba(changed)[0, told.goal.code]
            assert_close(found["P"][i], p)
            assert_close(found["change"][i], p - told.probabilities[told.prediction])
    changes = np.abs(found["change"])
    assert (np.diff(changes) <= 0).all()


def test_the_answer_is_the_models(told: Any, model: Any, table: dict[str, Any]) -> None:
    one = {name: cells[3:4] for name, cells in table.items()}
    assert told.prediction == model.predict(one)[0]
    assert_close(list(told.probabilities.values()), model.predict_proba(one)[0])
    assert_close(told.goal.value, told.probabilities[told.prediction])
    assert_close(told.loss, model.evaluate(one)["loss"], "f32")
    assert told.title == f"table, row 3: AHD = {told.prediction} with probability {told.goal.value:.4g}"


def test_layers_hold_the_networks_own_values(told: Any, model: Any) -> None:
    value, found = model.inputs(told.data), {path: node.value for path, _, node in told.layers}
    for i, layer in enumerate(model.network.layers):
        value = layer(value)
        if f"layers.{i}" in found:  # dropout is off and gives what it was given
            assert_close(found[f"layers.{i}"], value)
    assert len(found) == len(model.network.layers) - 1


def test_without_a_target_there_is_no_loss(model: Any, table: dict[str, Any]) -> None:
    bare = {name: cells for name, cells in table.items() if name != "AHD"}
    told = fl.explain_row(model, bare, row=3)
    assert (told.actual, told.loss, told.loss_gradient("x")) == (None, None, None)
    assert "dJ" not in told.text(120)
    blank = fl.explain_row(model, {**table, "AHD": [None, *table["AHD"][1:]]}, row=0)
    assert blank.loss is None
    given = fl.explain_row(model, bare, table["AHD"], row=3)
    assert_close(given.loss, fl.explain_row(model, table, row=3).loss)


def test_numbers_are_explained_in_their_own_unit(table: dict[str, Any]) -> None:
    columns = {k: v for k, v in table.items() if k != "AHD"} | {"price": 5000 + 100 * table["Age"]}
    model = trained(columns, "price")
    told = fl.explain_row(model, columns, row=2)
    one = {name: cells[2:3] for name, cells in columns.items()}
    assert_close(told.goal.value, model.predict(one)[0])
    assert told.actual == columns["price"][2]
    numbers, codes = model.inputs(told.data)

    def price(x: np.ndarray) -> float:
        return float(model.predicted(score_rows(model.network, (x, codes), "auto"))[0])

    slopes = differences(price, numbers)
    assert_close(told.gradient("x") / model.target.scale, slopes / model.target.scale, "central")
    assert "numbers scaled as (y − " in " ".join(told.text().split())
    i = told.switches.columns["instead"].index("city 7")
    assert_close(told.switches.columns["ŷ"][i], model.predict({**one, "City": ["city 7"]})[0])


@pytest.mark.parametrize("loss", ["bce", "hinge", "mse", "cce"])
def test_models_of_arrays(loss: str) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 3))
    y = {"mse": X[:, 0], "cce": np.digitize(X[:, 0], [-0.5, 0.5])}.get(loss, X[:, 0] > 0)
    units = 3 if loss == "cce" else 1
    net = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(units))
    model = fl.fit(net, (X, y), loss=loss, epochs=3, precision="float64").model
    told = fl.explain_row(model, X, y, row=5)

    def goal(x: np.ndarray) -> float:
        scores = model.scores(x[None])
        if told.goal.symbol == "P":
            return float(model.predict_proba(x[None])[0, told.goal.code])
        return float(scores[0] if loss == "hinge" else model.predict(x[None])[0])

    slopes = {i.name: i.partial for i in told.inputs}
    assert told.goal.symbol == {"hinge": "s", "mse": "ŷ"}.get(loss, "P")
    assert_close([slopes[f"x[{i}]"] for i in range(3)], differences(goal, X[5]), "central")
    assert_close(told.goal.value, goal(X[5]))
    assert told.actual == y[5]
    if loss != "hinge":  # whose slope may jump between the two points
        assert_close(told.loss_gradient("x")[0], differences(lambda x: _loss(model, x, y[5]), X[5]), "central")


def _loss(model: Any, x: np.ndarray, y: Any) -> float:
    scores = model.scores(x[None])
    target = np.array([y], np.int32 if model.loss.target_dtype == "int32" else np.float64)
    return float(model.loss(scores, target)[0])


def test_names_of_a_frame_and_rows_of_the_first_matrix() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    frame = pandas.DataFrame(rng.normal(size=(40, 2)), columns=["height", "width"])
    model = fl.fit(fl.Dense(1), (frame, frame["height"] > 0), epochs=2).model
    told = fl.explain_row(model, frame, row=1)
    assert {i.name for i in told.inputs} == {"height", "width"}
    assert set(told.open("W").columns["entry"]) == {"[height, 0]", "[width, 0]"}


@pytest.mark.parametrize(
    "net, named",
    [
        (fl.Sequential(fl.Dense(2), fl.Dense(1)), {"layers.0.W"}),
        (fl.Sequential(fl.RandomFourier(4, gamma=0.1), fl.Dense(1)), set()),
        (fl.Sequential(fl.RadialBasis(4), fl.Dense(1)), set()),
        (fl.Sequential(lambda z: z[:, ::-1] * 1.0, fl.Dense(2), fl.Dense(1)), set()),
        (fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1)), {"layers.0.W"}),
    ],
)
def test_columns_name_the_rows_of_those_weights_alone_that_read_them(net: Any, named: set[str]) -> None:
    """Four units are as many as there are columns; the labels are those of Trace.open."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    frame = pandas.DataFrame(rng.normal(size=(40, 4)), columns=["age", "bp", "chol", "hr"])
    told = fl.explain_row(fl.fit(net, (frame, frame["age"]), epochs=1, strict=False), frame, frame["age"])
    for path, w in fl.leaves(told.model.network, "param").items():
        rows = [frame.columns[i] if path in named else str(i) for i in range(len(w))]
        expected = {f"[{', '.join([rows[i], *map(str, rest)])}]" for i, *rest in np.ndindex(w.shape)}
        assert set(told.open(path).columns["entry"]) == expected
        assert ("label" in told.trace.open(path).columns) == (path in named)


def test_the_vectors_of_an_embedded_category_are_named_by_its_levels(told: Any) -> None:
    model = told.model
    levels = next(c.levels for c in model.columns.fitted if c.name == "City")
    entries = told.open("layers.0.tables.0").columns["entry"]
    assert {entry[1:].partition(",")[0] for entry in entries} == {"unseen", *levels}
    reading = {entry[1:].partition(",")[0] for entry in told.open("layers.1.W").columns["entry"]}
    assert reading == {*model.columns.feature_names, *(f"City {k}" for k in range(model.network.layers[0].units[0]))}


def test_the_page_has_everything_and_asks_for_nothing(told: Any, tmp_path: Path) -> None:
    page = told.save(tmp_path / "row.html").read_text(encoding="utf-8")
    for path in fl.leaves(told.model.network, "param"):
        assert f"<summary>{path}</summary>" in page
    for each in told.inputs:
        assert each.name in page
    assert page.count('class="up"') + page.count('class="down"') >= len(told.inputs)
    assert "<svg" in page
    outside = page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "http" not in outside
    assert "src=" not in outside.replace("srcdoc", "")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_text_fits_the_width(told: Any, width: int) -> None:
    text = told.text(width)
    assert max(map(columns_of, text.splitlines())) <= width
    assert "dP/dz" in text


def test_names_with_markup_and_control_characters() -> None:
    rng = np.random.default_rng(2)
    odd = "<b>x</b>\x1b[31m"
    columns = {odd: rng.normal(size=40), "y": rng.normal(size=40)}
    told = fl.explain_row(trained(columns, "y"), columns)
    assert "<b>" not in told.html
    assert "\x1b" not in told.text()
    assert "\\x1b[31m" in told.text()


def test_as_plain_data(told: Any) -> None:
    found = json.loads(json.dumps(told.to_dict()))
    assert found["row"] == 3
    assert found["prediction"] == told.prediction
    assert len(found["inputs"]) == 5
    assert [layer["path"] for layer in found["layers"]] == [path for path, _, _ in told.layers]
    assert_close(found["loss"], told.loss)


def test_what_is_refused(model: Any, table: dict[str, Any], told: Any) -> None:
    with pytest.raises(ConfigError, match="row=90: table has 90 rows, counted from 0 to 89"):
        fl.explain_row(model, table, row=90)
    with pytest.raises(ConfigError, match="row=-1: table has 90 rows"):
        fl.explain_row(model, table, row=-1)
    with pytest.raises(ConfigError, match="takes a fitted model, given Dense"):
        fl.explain_row(fl.Dense(1), table)
    with pytest.raises(DataError, match="X has 90 rows and y has shape"):
        fl.explain_row(model, table, ["Yes"])
    with pytest.raises(DataError, match="no input is called 'Aeg': did you mean 'Age'"):
        told["Aeg"]
    with pytest.raises(ConfigError, match=r"no weights are called 'layers\.9\.W'"):
        told.open("layers.9.W")


def test_labels_that_are_python_objects_are_followed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    labels = pd.Series(np.where(X[:, 0] > 0, "high", "low"), dtype=object)
    model = fl.fit(fl.mlp((3,)), (X, labels), epochs=1).model
    for y in (labels, labels.to_numpy(), labels.to_list()):
        assert fl.explain_row(model, X, y, row=2).actual == labels[2]


def test_a_long_name_leaves_room_for_the_numbers():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["n" * 150, "b"])
    told = fl.explain_row(fl.fit(fl.mlp((3,)), (frame, frame["b"]), epochs=1).model, frame, frame["b"])
    text = told.text(80)
    assert "nnn…" in text
    assert "dŷ/dx" in text
    assert max(map(len, text.splitlines())) <= 80
