"""What every method without a gradient keeps, generated from the registry; a new one gets these tests by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import records_of
from fallline.optim.gradient_free import GradientFree
from fallline.optim.solver import Objective, Solver
from tests.tolerance import assert_close

METHODS = {n: c for n, c in records_of(Solver).items() if c.__module__.startswith("fallline.") and not c.uses_gradient}
every_method = pytest.mark.parametrize("cls", METHODS.values(), ids=METHODS)
BOUNDED = {n: c for n, c in METHODS.items() if issubclass(c, GradientFree)}
every_bounded = pytest.mark.parametrize("cls", BOUNDED.values(), ids=BOUNDED)
VALLEY = 0.1  # of Rosenbrock's function: on the floor of the valley, where J is 24.2 at the start


def rosenbrock(w):
    return float(100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2)


def bowl(w):
    return float(np.sum(np.arange(1, len(w) + 1) * (w - 0.3) ** 2))


class Asked(Objective):
    """A function whose derivatives nobody may ask for; it keeps the points where it was looked at."""

    def __init__(self, f, bounds=None):
        super().__init__()
        self.f, self.points, self.bounds = f, [], bounds

    def compute(self, w):
        self.points.append(w.copy())
        return self.f(w)

    def differentiate(self, w):
        raise AssertionError("a method without gradients asked for one")

    def multiply(self, w, direction):
        raise AssertionError("a method without gradients asked for a Hessian")

    def closed_form(self):
        raise AssertionError("a method without gradients asked for a formula")


def moves_of(solver, f, start, count, *, seed=0, bounds=None):
    """The moves of a run, and the objective."""
    objective, w = Asked(f, bounds), np.array(start, np.float64)
    value, state, moves = f(w), solver.init(w), []
    for t in range(count):
        moves.append(solver.iterate(objective, w, value, state, np.random.default_rng((seed, t))))
        w, value, state = moves[-1].w, moves[-1].value, moves[-1].state
        if moves[-1].done:
            break
    return moves, objective


@every_method
def test_the_best_loss_never_rises_and_reaches_the_floor_of_rosenbrocks_valley(cls):
    moves, objective = moves_of(cls.sample(), rosenbrock, [-1.2, 1.0], 40)
    values = [rosenbrock([-1.2, 1.0]), *(move.value for move in moves)]
    assert (np.diff(values) <= 0).all()
    assert values[-1] < VALLEY or (cls is fl.SPSA and values[-1] < 10 * VALLEY)
    assert objective.evaluations == len(objective.points)
    assert values[-1] == min(values[0], *map(rosenbrock, objective.points)), "nothing that was seen was better"


@every_method
def test_the_same_seed_gives_the_same_bits_and_another_one_another_way(cls):
    first, again, other = (moves_of(cls.sample(), rosenbrock, [-1.2, 1.0], 4, seed=s)[0] for s in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        assert_close(one.w, two.w, "exact")
        assert one.notes == two.notes
    assert cls is fl.GridSearch or first[-1].value != other[-1].value


@every_method
def test_a_run_goes_on_from_any_iteration_with_the_same_bits(cls):
    solver = cls.sample()
    moves, _ = moves_of(solver, rosenbrock, [-1.2, 1.0], 8)
    for k, kept in enumerate(moves[:-1]):
        state = {name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in kept.state.items()}
        rng = np.random.default_rng((0, k + 1))
        after, expected = solver.iterate(Asked(rosenbrock), kept.w, kept.value, state, rng), moves[k + 1]
        assert (after.value, after.notes, after.done) == (expected.value, expected.notes, expected.done)
        assert_close(after.w, expected.w, "exact")
        assert {n: a.tobytes() for n, a in after.state.items()} == {n: a.tobytes() for n, a in expected.state.items()}


@every_method
def test_the_unit_of_the_loss_changes_nothing(cls):
    """1024 J is J with another exponent, so that even the bits of the weights stay."""
    own, scaled = (moves_of(cls.sample(), f, [-1.2, 1.0], 6)[0] for f in (rosenbrock, lambda w: 1024 * rosenbrock(w)))
    for one, two in zip(own, scaled, strict=True):
        assert_close(one.w, two.w, "exact")


@pytest.mark.parametrize("name", ["CMAES", "DifferentialEvolution", "ParticleSwarm", "GridSearch", "RandomSearch"])
def test_only_the_order_of_the_losses_counts(name):
    own, cubed = (
        moves_of(METHODS[name].sample(), f, [-1.2, 1.0], 12)[0] for f in (rosenbrock, lambda w: rosenbrock(w) ** 3)
    )
    for one, two in zip(own, cubed, strict=True):
        assert_close(one.w, two.w, "exact")


@every_method
def test_where_the_loss_is_no_number_nobody_stays(cls):
    def broken(w):
        return bowl(w) if w[0] > 0 else (math.nan if w[1] > 0 else math.inf)

    moves, _ = moves_of(cls.sample(), broken, [0.1, 0.1], 30)
    assert all(math.isfinite(move.value) for move in moves)
    assert_close(moves[-1].value, 0.0, "fit")


@every_bounded
def test_no_trial_lies_beyond_a_bound_and_a_minimum_on_it_is_found(cls):
    """The lowest point of the bowl round 0.3 with w_0 >= 0.5 and w_1 <= 0.1 is that corner."""
    two = (0.5, -2.0), (2.0, 0.1)
    own = cls.sample().replace(low=two[0], high=two[1])
    for solver, bounds in ((own, two), (cls.sample(), two), (cls.sample(), ((0.5, -np.inf), (np.inf, 0.1)))):
        low, high = map(np.array, bounds)
        moves, objective = moves_of(solver, bowl, [1.0, -0.5], 30, bounds=None if solver is own else (low, high))
        points = np.stack(objective.points)
        assert (points >= low).all()
        assert (points <= high).all()
        assert_close(moves[-1].w, [0.5, 0.1], "fit")


@every_bounded
def test_bounds_that_do_not_fit_are_refused_in_one_line(cls):
    for bounds, words in (
        ({"low": -1.0}, "give both low and high"),
        ({"low": 1.0, "high": -1.0}, "low below high"),
        ({"low": 0.0, "high": np.inf}, "finite numbers"),
        ({"low": "left", "high": "right"}, "finite numbers"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            cls.sample().replace(**bounds)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="weight 1 starts at 3, outside"):
        cls.sample().replace(low=-1.0, high=1.0).init(np.array([0.0, 3.0]))
    with pytest.raises(ConfigError, match="there are 2 weights; give a number, or one for each"):
        cls.sample().replace(low=(-1.0, -1.0, -1.0), high=1.0).init(np.zeros(2))


# What makes a rough surface smooth enough for each: a larger cloud, region or difference.
STEPS = {
    "sa(step=0.5)": 5, "simulated_annealing(0.1, step=0.5)": 3, "cmaes": 25, "cma_es(1.0)": 25, "de": 6,
    "differential_evolution": 6, "pso": 6, "particle_swarm": 6, "spsa(c=0.5)": 6, "grid(points=5)": 2,
    "grid_search(points=5)": 2, "random(0.5)": 3,
}  # fmt: skip


@pytest.mark.parametrize("optimizer", STEPS)
def test_a_network_with_a_step_function_is_trained(optimizer):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = (X @ [1.0, -2.0] + 0.5 > 0) * 1.0
    network = fl.Sequential(fl.Dense(1), fl.Heaviside())
    fit = fl.fit(network, (X, y), loss="mse", optimizer=optimizer, epochs=STEPS[optimizer], engine="numpy", seed=3)
    losses = fit.history["train_loss"]
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < 0.1 < losses[0], "less than every tenth row is wrong"
    assert_close(fit.model.evaluate(X, y)["loss"], losses.min())
    assert fit.history["evaluations"][-1] >= len(losses) - 1
