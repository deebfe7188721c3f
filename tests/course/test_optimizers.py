"""Mission rows 99-107 and 110: batches of an epoch, schedules, and the optimizers that average gradients; 108 is in
tests/interchange, 109 in test_comparison.py, 111 in the tests of the solvers."""

from __future__ import annotations

import math
import pydoc
import re
from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.registry import plain_name
from fallline.optim.solver import as_minimizer
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
INPUTS = np.column_stack([X, np.ones(90)])  # the weights and the bias together, as `path` has them
NUMBERS = X @ RNG.normal(size=4) + 1 + 0.1 * RNG.normal(size=90)
STEPS = 1000
DOCS = Path(__file__).parents[2] / "docs"


def linear():
    return fl.Sequential(fl.Dense(1))


def path(optimizer, epochs=5, **settings):
    """The weights of every epoch."""
    chosen = {"batch_size": 16, "precision": "float64", "keep_path": True} | settings
    return fl.fit(linear(), (X, NUMBERS), optimizer=optimizer, epochs=epochs, **chosen).path


def rates(schedule, epochs=5):
    """The rate in each epoch of a run, as training counts them."""
    fit = fl.fit(linear(), (X, NUMBERS), optimizer=fl.SGD(schedule), epochs=epochs, batch_size=30)
    return fit.history["learning_rate"][1:]


def test_row_099_every_row_is_in_one_batch_of_an_epoch_and_the_list_is_printed_for_a_seed():
    listed = fl.batches(10, 4, epochs=2, seed=3)
    for epoch in (listed.rows[:3], listed.rows[3:]):
        assert [len(rows) for rows in epoch] == [4, 4, 2]
        assert_close(np.sort(np.concatenate(epoch)), np.arange(10), "exact")
    assert str(listed) == str(fl.batches(10, 4, epochs=2, seed=3))
    assert str(listed) != str(fl.batches(10, 4, epochs=2, seed=4))
    assert " ".join(map(str, listed.rows[0])) in str(listed)
    assert "[epoch 2]" in str(listed)
    with pytest.raises(ConfigError, match="batch_size=0: batch_size must be a whole number of at least 1"):
        fl.batches(10, 0)


def test_row_099_the_steps_of_training_are_those_of_the_list():
    """Each epoch again by hand: a step along the gradient of (w·x + b - t)² for each batch of the list, in the mean
    over 16 rows; the last batch has 10, and counts by its size."""
    taken = path("sgd(0.05)", epochs=3, seed=7)
    w, at = taken[0], [taken[0]]
    for k, rows in enumerate(fl.batches(90, 16, epochs=3, seed=7).rows, 1):
        w = w - 0.05 * 2 * (INPUTS[rows] @ w - NUMBERS[rows]) @ INPUTS[rows] / 16
        if k % 6 == 0:
            at.append(w)
    assert_close(taken, np.stack(at))


def test_row_100_annealing_of_the_rate_is_a_schedule():
    """The steps follow the slope all the same: it is the rate that falls."""
    way = fl.descend(lambda w: (w - 3) ** 2, 0.0, learning_rate=fl.InverseTime(0.2, decay=1.0), steps=4)
    w, at = 0.0, [0.0]
    for epoch in range(4):
        w -= 0.2 / (1 + epoch) * 2 * (w - 3)
        at.append(w)
    assert_close(way.path, at)


def test_row_100_simulated_annealing_is_another_method_without_any_gradient():
    """It takes steps uphill on its way, and gives back the best weights that it saw."""
    annealing = as_minimizer("sa")
    assert type(annealing) is fl.SimulatedAnnealing
    assert not annealing.uses_gradient
    assert not hasattr(annealing, "learning_rate")
    fit = fl.fit(linear(), (X, NUMBERS), optimizer="sa", epochs=20)
    assert (np.diff(fit.history["walk_loss"][1:]) > 0).any()
    assert (np.diff(fit.history["train_loss"]) <= 0).all()
    assert_close(fit.model.evaluate(X, NUMBERS)["loss"], fit.history["train_loss"][-1])


def test_row_100_the_glossary_explains_both():
    page = (DOCS / "course" / "glossary.md").read_text(encoding="utf-8")
    words = "Annealing of the learning rate", "Simulated annealing"
    rate, simulated = (page.split(f"### {word}\n")[1].split("###")[0] for word in words)
    assert "schedule" in rate
    assert "another thing" in rate
    assert "without any gradient" in simulated


def test_row_101_the_rate_divided_by_1_plus_decay_times_epoch():
    assert_close(rates(fl.InverseTime(0.2, decay=1.0)), 0.2 / np.arange(1, 6))
    assert [round(rate, 4) for rate in rates("inverse_time(0.2, decay=1)")] == [0.2, 0.1, 0.0667, 0.05, 0.04]


def test_row_101_the_other_decays():
    epochs = np.arange(5)
    assert_close(rates(fl.Exponential(0.2, factor=0.95)), 0.95**epochs * 0.2)
    assert_close(rates(fl.SquareRoot(0.2)), 0.2 / np.sqrt(epochs + 1), "f64")
    assert_close(rates(fl.StepDecay(0.2, every=2, factor=0.5)), [0.2, 0.2, 0.1, 0.1, 0.05])


def test_row_102_an_exponentially_weighted_average_reaches_over_1_divided_by_1_minus_beta_steps():
    ones = np.ones(10)
    assert_close(fl.ewa(ones, 0.9)[-1], 0.6513215599, "printed")  # 1 - 0.9^10
    assert_close(fl.ewa(ones, 0.9, bias_correction=True), ones)
    assert [round(fl.ewa_window(beta), 9) for beta in (0.9, 0.98, 0.5)] == [10, 50, 2]
    x = RNG.normal(size=30)
    v = 0.0
    for t, entry in enumerate(x):
        v = 0.9 * v + 0.1 * entry
        assert_close(fl.ewa(x, 0.9)[t], v)
    weights = 0.02 * 0.98 ** np.arange(50)  # of the last fifty entries: all but e^-1 of the sum
    assert abs(weights.sum() - (1 - math.exp(-1))) < TOL["statistics"]


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_row_103_momentum_in_both_conventions_goes_the_same_way(beta):
    """α of V = βV + (1-β) dW is α (1-β) of V = βV + dW."""
    averaged = path(fl.Momentum(0.05, momentum=beta, dampened=True))
    summed = path(fl.Momentum(0.05 * (1 - beta), momentum=beta))
    assert_close(averaged, summed)
    assert np.abs(averaged - path(fl.Momentum(0.05, momentum=beta))).max() > TOL["fit"]


def test_row_103_the_velocity_is_that_of_the_batches():
    """V = βV + (1-β) dW and W = W - αV, by hand over the batches of one epoch, weights and bias."""
    taken = path(fl.Momentum(0.05, momentum=0.9, dampened=True), epochs=1)
    w, v = taken[0], np.zeros(5)
    for rows in fl.batches(90, 16).rows:
        v = 0.9 * v + 0.1 * 2 * (INPUTS[rows] @ w - NUMBERS[rows]) @ INPUTS[rows] / 16
        w = w - 0.05 * v
    assert_close(taken[-1], w)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_row_104_the_first_step_of_rmsprop_is_3_1623_times_the_rate_for_any_gradient(scale):
    way = fl.descend(lambda w: scale * fl.sum(w * w), [3.0, -0.5], optimizer=fl.RMSProp(0.01), steps=1)
    steps = np.abs(way.path[1] - way.path[0]) / 0.01
    assert_close(steps, [1 / math.sqrt(0.1)] * 2, "library32")
    assert [round(step, 3) for step in steps] == [3.162, 3.162]
    assert fl.RMSProp() == fl.RMSProp(beta2=0.9, eps=1e-8)


@pytest.mark.parametrize("scale", [1e-1, 1.0, 1e4])
def test_row_105_the_first_step_of_adam_is_the_rate_against_the_sign_of_the_gradient(scale):
    way = fl.descend(lambda w: scale * fl.sum(w * w), [3.0, -0.5], optimizer=fl.Adam(0.01), steps=1)
    assert_close((way.path[0] - way.path[1]) / 0.01, [1.0, -1.0], "library")


def slope(w):
    """Of the mean of (w·x + b - t)² over all rows."""
    return 2 * (INPUTS @ w - NUMBERS) @ INPUTS / 90


def test_row_105_adam_is_momentum_and_rmsprop_with_bias_correction():
    """As Kingma & Ba write it, over a thousand steps."""
    taken = path(fl.Adam(0.02), epochs=STEPS, batch_size="full")
    w, m, v = taken[0], 0.0, 0.0
    at = [w]
    for t in range(1, STEPS + 1):
        g = slope(w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        at.append(w)
    assert_close(taken, np.stack(at), "library")


def test_row_105_the_path_of_adam_is_that_of_torch_over_a_thousand_steps():
    torch = pytest.importorskip("torch")
    taken = path(fl.Adam(0.02), epochs=STEPS, batch_size="full")
    w = torch.tensor(taken[0], requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.02)
    for t in range(1, STEPS + 1):
        adam.zero_grad()
        ((torch.tensor(INPUTS) @ w - torch.tensor(NUMBERS)) ** 2).mean().backward()
        adam.step()
        assert_close(taken[t], w.detach().numpy(), "library")


def test_row_106_the_defaults_of_adam_and_a_guide_to_them():
    assert (fl.Adam().learning_rate, fl.Adam().beta1, fl.Adam().beta2, fl.Adam().eps) == (1e-3, 0.9, 0.999, 1e-8)
    shown = pydoc.plain(pydoc.render_doc(fl.Adam))
    for name, word in (("learning_rate", "the one to tune"), ("beta1", "momentum"), ("beta2", "squares"),
                       ("eps", "keeps the step finite")):  # fmt: skip
        assert any(name in line and word in line for line in shown.splitlines()), name
    assert "Kingma & Ba 2015" in shown


LISTED = {  # all that a course or today's practice asks for
    "SGD": "sgd(0.1)", "momentum": "momentum(0.05)", "Nesterov": "nesterov(0.05)", "RMSProp": "rmsprop(0.1)",
    "Adam": "adam(0.1)", "AdamW": "adamw(0.1)", "SGDR": "sgd(cosine_restarts(0.1, period=4))", "Muon": "muon(0.1)",
    "L-BFGS": "lbfgs", "CMA-ES, with restarts": "cmaes", "gradient descent": "gradient_descent(0.1)",
    "AdaGrad": "adagrad(0.5)", "NAdam": "nadam(0.1)", "AMSGrad": "amsgrad(0.1)", "RAdam": "radam(0.1)",
    "Lion": "lion(0.1)", "Optimistic Adam": "optimistic_adam(0.1)", "Lookahead": "lookahead(sgd(0.1))",
    "snapshot ensembles": "snapshots(sgd(0.1))", "SVRG": "svrg(sgd(0.1))", "FISTA": "fista",
    "augmented Lagrangian": "augmented_lagrangian", "coordinate descent": "coordinate_descent",
    "grid search": "grid_search(points=7)", "random search": "random_search",
    "simulated annealing": "simulated_annealing", "differential evolution": "differential_evolution",
    "particle swarm": "particle_swarm", "SPSA": "spsa",
    "schedule-free AdamW": "schedule_free_adamw(0.1)", "SAM": "sam(sgd(0.1))", "Newton-CG": "newton_cg",
    "Gauss-Newton": "gauss_newton", "Levenberg-Marquardt": "levenberg_marquardt",
}  # fmt: skip


@pytest.mark.parametrize("text", LISTED.values(), ids=LISTED)
def test_row_107_every_optimizer_of_the_list_trains_and_stands_on_the_page(text):
    """From any start to less than half of the loss, in a dozen epochs of three batches."""
    two = X[:60, :2]
    fit = fl.fit(linear(), (two, two @ [1.0, -2.0] + 0.5), optimizer=text, epochs=12, batch_size=20)
    assert fit.history["train_loss"][-1] < 0.5 * fit.history["train_loss"][0]
    page, cls = (DOCS / "optimizers.md").read_text(encoding="utf-8"), type(as_minimizer(text))
    shown = {plain_name(name) for name in re.findall(r"`(\w+)`", page)}
    assert shown & {plain_name(name) for name in (cls.__name__, *cls.aliases)}


def test_row_110_with_a_decaying_rate_stochastic_descent_ends_ten_times_nearer():
    """A hundred valleys (w - t)² at once, t another row at each step. At the constant rate r = 0.1 along w - t the mean
    square of the distance from the lowest point stays about r / (2 - r), the variance of t being 1."""
    targets = np.random.default_rng(1).normal(3.0, 1.0, (3000, 100))
    valleys, data = fl.Sequential(fl.Dense(100, use_bias=False)), (np.ones((3000, 1)), targets)
    distance = {}
    for name, rate in (("constant", 5.0), ("decayed", fl.InverseTime(5.0, decay=0.1, unit="step"))):
        fit = fl.fit(valleys, data, optimizer=fl.SGD(rate), epochs=1, batch_size=1, precision="float64", keep_path=True)
        distance[name] = math.sqrt(np.mean((fit.path[-1] - targets.mean(axis=0)) ** 2))
    assert distance["decayed"] * 10 < distance["constant"]
    assert abs(distance["constant"] / math.sqrt(0.1 / 1.9) - 1) < 0.2  # to the scatter of a hundred valleys
