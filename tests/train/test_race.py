"""compare with a network or a function in front: the same start, the same batches, the loss over a clock."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, NonFiniteError
from fallline.train.way import Way, marks_of
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3))
Y = X[:, 0] * X[:, 1] + 0.1 * RNG.normal(size=64)
NET = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1))


def valley(w):
    return (w[0] - 1) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2


@pytest.fixture(scope="module")
def race():
    return fl.compare(
        NET, (X, Y), optimizers=["sgd(0.1)", fl.Adam(0.05), "newton"], epochs=10, batch_size=16, seed=3
    )  # fmt: skip


def test_every_method_starts_at_the_same_weights_and_sees_the_same_batches(race):
    starts = [ways[0].path[0] for ways in race.ways.values()]
    for start in starts:
        assert_close(start, starts[0], "f32")
    alone = fl.fit(NET, (X, Y), optimizer="sgd(0.1)", epochs=10, batch_size=16, seed=3)
    assert race.outcomes[0].fits[0].history == alone.history


def test_the_losses_are_those_of_all_rows_at_the_end_of_each_epoch(race):
    for outcome, (way,) in zip(race.outcomes, race.ways.values(), strict=True):
        assert_close(way.losses[-1], outcome.fits[0].model.evaluate(X, Y)["loss"], "f32")
        assert_close(way.losses[0], race.ways["sgd(0.1)"][0].losses[0], "f32")
    newton = race.ways["newton"][0]
    assert_close(newton.losses, race.outcomes[2].fits[0].history["train_loss"], "f64")
    assert race.best is race.outcomes[int(np.argmin([ways[0].best for ways in race.ways.values()]))]


def test_passes_steps_and_evaluations_are_counted(race):
    sgd, _, newton = (ways[0] for ways in race.ways.values())
    np.testing.assert_array_equal(sgd.passes, np.arange(11))
    np.testing.assert_array_equal(sgd.steps, 4 * np.arange(11))
    np.testing.assert_array_equal(newton.steps, np.arange(11))
    np.testing.assert_array_equal(newton.passes, race.outcomes[2].fits[0].history["evaluations"])
    assert race.columns["steps"] == [40, 40, 10]
    last = race.outcomes[2].fits[0].history[-1]
    assert race.columns["gradients"] == [10, 10, last["gradient_evaluations"] + last["hessian_products"]]
    assert race.columns["functions"] == [0, 0, last["function_evaluations"]]
    assert (np.diff(sgd.clock("seconds")) > 0).all()


def test_the_table_has_the_loss_at_round_places_of_the_clock(race):
    assert [name for name in race.columns if name.startswith("after")] == ["after 1", "after 10", "after 100"]
    sgd, _, newton = (ways[0] for ways in race.ways.values())
    assert race.columns["after 10"][0] == sgd.losses[10]
    assert race.columns["after 100"][0] is None  # its way ended before
    reached = int(np.searchsorted(newton.passes, 100, side="right")) - 1
    assert race.columns["after 100"][2] == newton.losses[reached]
    assert max(map(len, race.text(80).splitlines())) <= 80
    assert "3 ways down from the same start with the same batches, train 64 rows" in race.title


def test_marks_are_few_and_round():
    def way(n):
        steps = np.arange(n + 1.0)
        return Way(None, steps, None, steps, steps, steps)

    assert marks_of([way(20)], "steps") == [1, 3, 10]
    assert marks_of([way(1000), way(20)], "steps") == [1, 10, 100, 1000]
    assert marks_of([way(0)], "steps") == []


def test_penalties_belong_to_what_is_compared():
    found = fl.compare(NET, (X, Y), optimizers=["adam(0.01)", "newton"], epochs=3, l2=0.5)
    adam, newton = (ways[0] for ways in found.ways.values())
    assert_close(adam.losses[0], newton.losses[0], "f32")
    weights = found.outcomes[0].fits[0].model.network
    squares = sum(float((layer.W**2).sum()) for layer in (weights.layers[0], weights.layers[2]))
    plain = found.outcomes[0].fits[0].model.evaluate(X, Y)["loss"]
    assert_close(adam.losses[-1], plain + 0.25 * squares, "f32")


def test_seeds_are_averaged_and_rows_may_judge():
    found = fl.compare(NET, (X, Y), optimizers=["sgd(0.1)"], epochs=2, seeds=2, validation=0.25, test=0.25)
    ways = found.ways["sgd(0.1)"]
    assert_close(found.columns["after 1"][0], np.mean([way.losses[1] for way in ways]))
    assert_close(found.columns["±"][0], np.std([way.best for way in ways], ddof=1))
    assert found.judged_by == "validation"
    assert {"validation loss", "test loss"} <= set(found.columns)


def test_a_method_that_loses_the_loss_is_told_and_not_hidden():
    asked = {"epochs": 2, "l2": 0.1}
    found = fl.compare(NET, (X, Y), optimizers=["adam", "sgd(1e30)"], batch_size=16, **asked)
    assert list(found.ways) == ["adam"]
    assert found.columns["best loss"][1] is None
    assert "Row 2 has no result: a value that is not finite appeared in epoch 1" in found.note
    with pytest.raises(NonFiniteError):
        fl.compare(NET, (X, Y), optimizers=["sgd(1e30)"], batch_size=16, **asked)
    with pytest.warns(RuntimeWarning, match="the weights of epoch 1 are kept"):
        later = fl.compare(NET, (X, Y), optimizers=["adam", "sgd(1e30)"], **asked)
    assert "Row 2 ended early: a value that is not finite appeared in epoch 2" in later.note


def test_statistics_of_batches_leave_the_losses_of_the_history():
    net = fl.mlp(4, norm="batch")
    found = fl.compare(net, (X, Y), optimizers=["adam"], epochs=2)
    np.testing.assert_array_equal(found.ways["adam"][0].losses, found.outcomes[0].fits[0].history["train_loss"])


def test_a_second_gradient_in_a_step_is_counted_and_averaged_weights_are_told():
    methods = [fl.SGD(0.1), fl.SAM(fl.SGD(0.1)), fl.EMA(fl.SGD(0.1))]
    found = fl.compare(NET, (X, Y), optimizers=methods, epochs=2, batch_size=16)
    assert found.columns["gradients"] == [2, 4, 2]
    plain, _, averaged = (outcome.fits[0].model.evaluate(X, Y)["loss"] for outcome in found.outcomes)
    assert_close(found.columns["kept loss"][::2], [plain, averaged])
    assert_close(found.ways[found.labels[2]][0].losses, found.ways[found.labels[0]][0].losses)
    assert "kept loss" in found.note


def test_a_model_goes_on_from_its_weights():
    made = fl.fit(NET, (X, Y), epochs=1)
    found = fl.compare(made, (X, Y), optimizers=["sgd", "adam"], epochs=1)
    assert_close(found.ways["sgd"][0].losses[0], made.model.evaluate(X, Y)["loss"], "f32")


def test_a_function_of_ones_own():
    found = fl.compare(valley, [-1.0, 1.0], optimizers=["sgd(0.01)", "newton"], steps=20)
    alone = fl.descend(valley, [-1.0, 1.0], optimizer="sgd(0.01)", steps=20)
    np.testing.assert_array_equal(found.ways["sgd(0.01)"][0].losses, alone.values)
    np.testing.assert_array_equal(found.ways["sgd(0.01)"][0].passes, np.arange(21))
    assert found.columns["best"] == ["", "*"]
    assert found.ways["newton"][0].passes[-1] > found.ways["newton"][0].steps[-1]
    rates = fl.compare(valley, [-1.0, 1.0], learning_rate=[0.001, 0.01], steps=3, over="steps")
    assert list(rates.ways) == ["0.001", "0.01"]


def test_ways_are_kept_where_they_are_comparable():
    assert list(fl.compare((X, Y), batch_sizes=[16, 32], hidden=2, epochs=1, seeds=1).ways) == ["16", "32"]
    widths = fl.compare((X, Y), widths=[2, 3], epochs=1, seeds=1)
    assert [ways[0].path for ways in widths.ways.values()] == [None, None]
    twice = fl.compare(NET, (X, Y), optimizers=["sgd", "sgd"], epochs=1)
    assert list(twice.ways) == ["sgd (1)", "sgd (2)"]


@pytest.mark.parametrize(
    "given, asked, told",
    [
        ((X, Y), {"optimizers": ["sgd"]}, r"X and y belong together: write fl.compare\(\(X, y\), …\)"),
        ((NET, X, Y), {}, "compare takes .X, y., or a network and .X, y., or a function and a start; given 3"),
        ((NET, (X, Y)), {"optimizers": ["sgd"], "over": "passs"}, "over='passs': did you mean 'passes'"),
        ((NET, (X, Y)), {"hidden": [2, 3]}, "hidden shapes mlp's network, not one of your own"),
        ((valley, [0.0, 0.0]), {"optimizers": ["sgd"], "epochs": 3}, "no choice of a way down a function"),
        ((valley, [0.0, 0.0]), {"steps": 3}, "nothing to compare: give optimizers="),
        ((valley, [0.0, 0.0]), {"optimizers": ["sgd"], "over": "seconds"}, "the steps on a function are not timed"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(given, asked, told):
    with pytest.raises(ConfigError, match=told):
        fl.compare(*given, **asked)
