"""One step explained: its numbers are those of the step that training takes, under the six headings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.autodiff.numeric import numeric_gradient
from fallline.core.errors import ConfigError, DataError
from fallline.core.lines import columns_of
from fallline.explain.reports.step_text import HEADINGS, costs, updates
from fallline.train.tabular import TableOptions, prepare
from tests.tolerance import assert_close

RATE = 0.1
OR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 1, 1, 1])


def logistic() -> Any:
    """The weights (1/2, -1/4) and bias 1/8."""
    return fl.Dense(1, W=np.array([[0.5], [-0.25]]), b=np.array([0.125]))


def by_hand(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dW = Xᵀ(p - y)/m and db = mean(p - y) of logistic regression."""
    p = 1 / (1 + np.exp(-(X @ [[0.5], [-0.25]] + 0.125)))
    error = p - y[:, None]
    return X.T @ error / len(y), error.mean(axis=0)


def rows(n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, 4))
    return X, X[:, 0] - np.tanh(X[:, 1]) + rng.normal(size=n) / 5


def network() -> Any:
    return fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1))


def test_row_087_the_update_literally() -> None:
    """W = W - learning_rate * dLdW, b = b - learning_rate * dLdb, to the last bit; the gradients by their formula."""
    step = fl.explain_step(logistic(), OR, loss="bce", learning_rate=RATE)
    dW, db = by_hand(*OR)
    one = step[0]
    assert_close(one.gradients["W"], dW)
    assert_close(one.gradients["b"], db)
    assert np.array_equal(one.after["W"], one.before["W"] - RATE * one.gradients["W"])
    assert np.array_equal(one.after["b"], one.before["b"] - RATE * one.gradients["b"])
    assert np.array_equal(step.model.network.W, one.after["W"])
    text = " ".join(step.text(200).split())
    assert "W = W - learning_rate * dW, b = b - learning_rate * db with learning_rate = 0.1" in text
    path, at, g = max((("W", (0, 0), dW[0, 0]), ("W", (1, 0), dW[1, 0]), ("b", (0,), db[0])), key=lambda e: abs(e[2]))
    old = one.before[path][at]
    name = f"{path}[{', '.join(map(str, at))}]"
    assert f"{name} = {old:g} - 0.1 * ({g:.6g}) = {old - RATE * g:.6g}".replace("-0.", "−0.") in text


def test_the_rule_of_many_arrays_is_told_once() -> None:
    text = " ".join(fl.explain_step(network(), rows(), loss="mse", learning_rate=RATE).text(200).split())
    assert "W = W - learning_rate * dW for each of the 4 arrays, learning_rate = 0.1" in text
    assert text.count("learning_rate *") == 1
    assert "layers.0.W = layers.0.W -" not in text


def test_row_088_the_weight_and_its_new_value() -> None:
    """w′ = w − α ∂L/∂w for a line: L = mean (w x + b − y)², ∂L/∂w = 2 mean((w x + b − y) x)."""
    x, y, alpha = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]), 0.05
    line = fl.Dense(1, W=np.array([[2.0]]), b=np.array([-1.0]))
    one = fl.explain_step(line, (x[:, None], y), loss="mse", learning_rate=alpha)[0]
    error = 2 * x - 1 - y
    assert_close(one.cost, np.mean(error**2))
    assert_close(one.after["W"][0, 0], 2.0 - alpha * 2 * np.mean(error * x))
    assert_close(one.after["b"][0], -1.0 - alpha * 2 * np.mean(error))


def test_row_093_backpropagation_is_the_trace_of_the_step() -> None:
    """The steepest direction comes from the chain rule, from J back; it agrees with central differences."""
    X, y = rows()
    step = fl.explain_step(network(), (X, y), loss="mse", l2=0.3)
    one, trace = step[0], step.trace
    assert_close(float(trace.goal.value), one.cost)
    for path, g in one.gradients.items():
        assert_close(trace[path].partial, g)
    first, _, last = one.layers
    assert_close(one.gradients["layers.2.W"], one.layers[1].value.T @ last.partial + 0.3 * one.before["layers.2.W"])
    assert_close(one.gradients["layers.0.W"], X.T @ first.partial + 0.3 * one.before["layers.0.W"])

    def cost(*arrays: Any) -> Any:
        params = dict(zip(one.before, arrays, strict=True))
        net = fl.with_leaves(step.start.network, params)
        square = sum(np.sum(w**2) for path, w in params.items() if path.endswith("W"))
        return np.mean((net(X)[:, 0] - y) ** 2) + 0.15 * square

    found = numeric_gradient(cost, tuple(one.before.values()))
    for theirs, ours in zip(found, one.gradients.values(), strict=True):
        assert_close(ours, theirs, "central")
    reverse = [str(cell) for cell in trace.table().columns["step"]]
    assert reverse[0] == "dJ/dJ = 1"
    order = [next(i for i, s in enumerate(reverse) if f"dJ/d{p} +=" in s) for p in ("layers.2", "layers.1", "layers.0")]
    assert order == sorted(order)


def test_row_094_the_six_headings() -> None:
    """Initialise; then forward pass, cost, dW and db, update, and again with the new cost: n iterations."""
    step = fl.explain_step(fl.Dense(1), OR, loss="bce", learning_rate=RATE, steps=5)
    lines = step.lines(80)
    found = [line.text for line in lines if line.heading]
    assert found == ["5 steps of gradient descent", "Initialise", *(f"{i}. {h}" for i, h in enumerate(HEADINGS, 1))]
    assert HEADINGS == ("Forward", "Cost", "Gradients", "Update", "New cost", "Repeat")
    assert "drawn at random, seed 0" in step.text()
    one = step[0]
    shown = step.text(80)
    for number in (one.cost, one.mean, one.norm, one.new_cost, one.change, *one.score, *one.gradients["W"].ravel()):
        assert f"{abs(number):.6g}" in shown
    for before, after in zip(step.steps, step.steps[1:], strict=False):
        assert_close(after.cost, before.new_cost)
        assert after.cost < before.cost
    assert list(costs(step).columns["step"]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("optimizer", ["sgd(0.05)", "momentum(0.05)", "adam(0.01)"])
def test_steps_end_where_training_ends(optimizer: str) -> None:
    """Dropout, batch norm and a penalty: the weights after three steps are those of a fit of three epochs.

    The reference engine computes both: behind batch norm a bias has the gradient 0, of whose
    rounding Adam makes a step.
    """
    X, y = rows()
    net = fl.Sequential(fl.Dense(6), fl.BatchNorm(), fl.ReLU(), fl.Dropout(0.3), fl.Dense(1))
    step = fl.explain_step(net, (X, y), loss="mse", optimizer=optimizer, steps=3, l1=0.01, l2=0.1, seed=5)
    fit = fl.fit(
        net, (X, y), loss="mse", optimizer=optimizer, epochs=3, batch_size="full", shuffle=False, l1=0.01, l2=0.1,
        seed=5, precision="float64", engine="numpy",
    )  # fmt: skip
    theirs = fl.leaves(fit.model.network)
    for path, ours in fl.leaves(step.model.network).items():
        assert_close(ours, theirs[path])
    assert "Dropout is on" in step.text()
    assert "batch's own mean" in step.text()


def test_cost_and_its_parts() -> None:
    X, y = rows()
    step = fl.explain_step(network(), (X, y), loss="mse", l1=0.2, l2=0.5)
    one = step[0]
    weights = [w for path, w in one.before.items() if path.endswith("W")]
    assert_close(one.losses, (step.start.network(X)[:, 0] - y) ** 2)
    assert_close(one.mean, one.losses.mean())
    assert_close(
        one.penalties, [0.2 * sum(np.abs(w).sum() for w in weights), 0.25 * sum((w**2).sum() for w in weights)]
    )
    assert_close(one.cost, one.mean + sum(one.penalties))
    again = fl.explain_step(step.model, (X, y), l1=0.2, l2=0.5)
    assert_close(again[0].cost, one.new_cost)


def test_layers_are_the_networks_own() -> None:
    X, y = rows()
    net = network().build(X, 1)
    one = fl.explain_step(net, (X, y), loss="mse")[0]
    value = X
    for layer, found in zip(net.layers, one.layers, strict=True):
        value = layer(value)
        assert_close(found.value, value)
    assert [found.path for found in one.layers] == ["layers.0", "layers.1", "layers.2"]
    assert_close(one.score_partial, 2 * (one.score - y) / len(y))


def test_the_prediction_of_first_order_holds_for_small_steps() -> None:
    X, y = rows()
    net = network().build(X, 1)
    for rate, kind in ((1e-3, "statistics"), (1e-6, "f32")):
        one = fl.explain_step(net, (X, y), loss="mse", learning_rate=rate)[0]
        assert_close(one.predicted, -rate * one.norm**2)
        assert_close(one.change / one.predicted, 1.0, kind)


def test_a_long_step_rises_and_says_below_which_rate_it_would_not() -> None:
    """L = mean (w x)²  is a parabola in w: it falls for rates below 2 / (2 mean x²), exactly."""
    X = np.array([[1.0], [2.0], [-1.0], [-2.0]])  # of mean 0, so that the bias has no gradient
    line = fl.Dense(1, W=np.array([[1.0]]), b=np.array([0.0]))
    step = fl.explain_step(line, (X, np.zeros(4)), loss="mse", learning_rate=1.0)
    assert step[0].change > 0
    text = " ".join(step.text().split())
    assert "it rose by" in text
    assert f"rates below {1 / 2.5:.2g} would lower it" in text
    assert "too long" not in fl.explain_step(line, (X, np.zeros(4)), loss="mse", learning_rate=0.01).text()


def test_the_slots_of_an_optimizer_are_shown() -> None:
    X, y = rows()
    one = fl.explain_step(network(), (X, y), loss="mse", optimizer="adam", learning_rate=0.01)[0]
    table = updates(one)
    assert_close(one.slots["m:layers.0.W"], 0.1 * one.gradients["layers.0.W"])
    assert_close(one.slots["v:layers.0.W"], 0.001 * one.gradients["layers.0.W"] ** 2)
    assert {"m", "v"} <= table.columns.keys()
    assert_close(np.abs(one.changes["layers.0.W"]), np.full((4, 3), 0.01), "f32")  # the first step is lr · sign(g)


def test_batches_of_a_fitted_model() -> None:
    X, y = rows()
    labels = np.where(y > 0, "up", "down")
    model = fl.fit(network(), (X, labels), epochs=2).model
    step = model.explain_step((X[:5], labels[:5]), learning_rate=RATE)
    assert "P(up)" in step.text()
    assert_close(step[0].mean, model.evaluate(X[:5], labels[:5])["loss"], "f32")
    one_row = model.explain_step((X[:1], labels[:1]))
    assert one_row[0].score.shape == (1,)


def test_a_batch_as_a_table() -> None:
    X, y = rows(60)
    frame = {"a": X[:, 0], "b": X[:, 1], "kind": np.where(X[:, 2] > 0, "p", "q"), "y": y}
    model = prepare(fl.read_table(frame), "y", TableOptions(hidden=(4,), dropout=0.0, epochs=1)).train().fit.model
    part = {name: cells[:8] for name, cells in frame.items()}
    step = model.explain_step(part)
    assert_close(step[0].mean, model.evaluate(part)["loss"], "library32")
    assert len(step.y) == 8


def test_numbers_as_targets_of_a_network_may_lack_a_class() -> None:
    X, _ = rows(6)
    assert fl.explain_step(fl.Dense(1), (X, np.ones(6)), loss="bce")[0].score.shape == (6,)
    step = fl.explain_step(fl.Dense(3).build(X, 0), (X, [0, 1, 0, 1, 1, 0]), loss="cce")
    assert_close(step[0].losses, -np.log(_softmax(step.start.network(X))[np.arange(6), [0, 1, 0, 1, 1, 0]]))


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("net", [fl.Dense(1), fl.Sequential(fl.Dense(64), fl.ReLU(), fl.Dropout(0.1), fl.Dense(1))])
def test_the_text_fits_the_width(width: int, net: Any) -> None:
    step = fl.explain_step(net, rows(), loss="mse", optimizer="adam", steps=3, l2=0.1)
    assert max(map(columns_of, step.text(width).splitlines())) <= width


def test_large_arrays_are_summarised() -> None:
    step = fl.explain_step(fl.Sequential(fl.Dense(64), fl.ReLU(), fl.Dense(1)), rows(), loss="mse")
    text = step.text()
    assert "4×64: mean" in text
    assert "of 385 parameters" in text
    assert len(text.splitlines()) < 100


def test_a_page_and_a_file(tmp_path: Any) -> None:
    step = fl.explain_step(fl.Dense(1), OR, loss="bce")
    page = step.save(tmp_path / "step.html").read_text(encoding="utf-8")
    assert page == step.html
    for heading in HEADINGS:
        assert heading in page
    assert "http" not in page.replace("http-equiv", "")
    assert "1. Forward" in step.save(tmp_path / "step.txt").read_text(encoding="utf-8")
    assert "<iframe" in step._repr_html_()
    with pytest.raises(ConfigError, match=r"step\.pdf: give a name that ends in \.html or \.txt"):
        step.save(tmp_path / "step.pdf")
    with pytest.raises(ConfigError, match="there is no folder"):
        step.save(tmp_path / "absent" / "step.html")


def test_what_is_refused() -> None:
    X, y = rows()
    model = fl.fit(network(), (X, y), epochs=1).model
    with pytest.raises(ConfigError, match="steps=0: steps must be a whole number of at least 1"):
        model.explain_step((X, y), steps=0)
    with pytest.raises(ConfigError, match="a fitted model has its own"):
        fl.explain_step(model, (X, y), loss="mse")
    with pytest.raises(DataError, match=r"the batch must be a pair \(X, y\), given ndarray"):
        fl.explain_step(network(), X)
    with pytest.raises(DataError, match="must be a pair"):
        model.explain_step(X)
    with pytest.raises(DataError, match="X has 30 rows and y"):
        fl.explain_step(network(), (X, y[:5]))
    with pytest.raises(ConfigError, match="takes a fitted model or a network, given int"):
        fl.explain_step(3, (X, y))


def test_buffers_that_no_step_changes_are_not_called_normalisation():
    X = np.random.default_rng(0).normal(size=(8, 2))
    batch = (X, X[:, 0])
    fixed = fl.explain_step(fl.Sequential(fl.RandomFourier(4), fl.Dense(1)), batch, loss="mse")
    normed = fl.explain_step(fl.Sequential(fl.Dense(3), fl.BatchNorm(), fl.Dense(1)), batch, loss="mse")
    assert "Normalisation" not in fixed.text(100)
    assert "Normalisation" in normed.text(100)


def test_changes_have_all_their_digits_in_float32():
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = fl.fit(fl.mlp((3,)), (X, X[:, 0]), epochs=1).model
    one = fl.explain_step(model, (X, X[:, 0]), learning_rate=1e-6).steps[0]
    for path, change in one.changes.items():
        assert_close(1e6 * change, -one.gradients[path].astype(float), "f32")
