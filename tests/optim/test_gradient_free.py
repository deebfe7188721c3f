"""Methods without a gradient: the numbers of their papers, what their random draws are, restarts, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.optim.cloud import Cloud, rates_of
from fallline.optim.differential_evolution import _latin, _others
from fallline.optim.gradient_free import mirrored
from fallline.optim.solver import as_minimizer
from tests.contracts.test_gradient_free import bowl, moves_of, rosenbrock
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)


def double(w):
    return w**4 - 3 * w**2 + w


def rastrigin(w):
    return float(np.sum(w * w + 10 * (1 - np.cos(2 * np.pi * w))))


def test_each_goes_by_its_name_and_its_short_name():
    names = {"sa": fl.SimulatedAnnealing, "simulated_annealing": fl.SimulatedAnnealing, "cmaes": fl.CMAES,
             "cma_es": fl.CMAES, "de": fl.DifferentialEvolution, "differential_evolution": fl.DifferentialEvolution,
             "pso": fl.ParticleSwarm, "particle_swarm": fl.ParticleSwarm, "spsa": fl.SPSA, "grid": fl.GridSearch,
             "grid_search": fl.GridSearch}  # fmt: skip
    for text, cls in names.items():
        assert as_minimizer(text) == cls()
    assert as_minimizer("de(F=(0.5, 0.9), low=(-1, -2), high=1)").low == (-1.0, -2.0)


@pytest.mark.parametrize(
    "optimizer", ["sa", "cmaes(2.0)", "de(region=4)", "pso(region=4)", "grid(region=4)", "spsa(c=2)"]
)
def test_each_leaves_the_local_minimum_of_the_double_valley(optimizer):
    """From 2, where gradient descent ends at 1.1309 with -1.0702; the lowest is the leftmost root of the slope."""
    way = fl.descend(double, 2.0, optimizer=optimizer, steps=30, seed=1)
    assert_close(way.lowest, double(np.roots([4.0, 0.0, -6.0, 1.0]).real.min()), "fit")
    assert (np.diff(way.values) <= 0).all()


def test_mirrors_throw_back_as_often_as_it_takes():
    low, high = np.array([-1.0, -1.0, -np.inf]), np.array([1.0, np.inf, 2.0])
    given = [[0.5, 0.5, 0.5], [1.5, -3.0, 2.5], [-4.25, 9.0, -9.0]]
    assert_close(mirrored(np.array(given), low, high), [[0.5, 0.5, 0.5], [0.5, 1.0, 1.5], [-0.25, 9.0, -9.0]])


# Simulated annealing.


def test_metropolis_accepts_a_rise_of_d_with_probability_exp_minus_d_over_t():
    """A loss of 0 or 1 at random, T with exp(-1 / T) = 1/2: in equilibrium 1/3 of the time is spent at 1, so that
    2/3 · (1 + 1/2) / 2 + 1/3 = 5/6 of the trials are accepted."""

    def stripes(w):
        return float(math.floor(w[0]) % 2)

    walk = fl.SimulatedAnnealing(temperature=1 / math.log(2), step=50.0, trials=8000)
    moves, _ = moves_of(walk, stripes, [0.5], 1)
    assert abs(moves[0].notes["accepted"] - 5 / 6) < TOL["statistics"]


def test_the_temperature_falls_by_its_schedule_and_the_step_follows():
    for schedule, shares in (
        ("geometric", [1, 0.5, 0.25, 0.125]),
        ("logarithmic", [1 / (1 + math.log(1 + k)) for k in range(4)]),
        ("fast", [1, 1 / 2, 1 / 3, 1 / 4]),
    ):
        moves, _ = moves_of(fl.SimulatedAnnealing(3.0, 0.5, schedule=schedule), bowl, [1.0, 1.0], 4)
        assert_close([move.notes["temperature"] for move in moves], 3.0 * np.array(shares))
    cold, _ = moves_of(fl.SimulatedAnnealing(1e-12, step=10.0), bowl, [1.0, 1.0], 8)
    hot, _ = moves_of(fl.SimulatedAnnealing(1e12, step=0.1), bowl, [1.0, 1.0], 8)
    assert cold[-1].notes["step"] < 1 < hot[-1].notes["step"] + TOL["f64"]


def test_it_is_frozen_after_three_epochs_in_which_nothing_counts():
    moves, _ = moves_of(fl.SimulatedAnnealing(cooling=0.3, tolerance=1e-3), bowl, [1.0, 1.0], 60)
    assert "frozen" in moves[-1].done
    assert_close(moves[-1].w, [0.3, 0.3], "fit")
    flat, _ = moves_of(fl.SimulatedAnnealing(), lambda w: 7.0, [1.0, 1.0], 10)
    assert len(flat) == 3


# CMA-ES.


@pytest.mark.parametrize("n, popsize", [(1, 4), (2, 6), (10, 10), (10, 160), (40, 15)])
@pytest.mark.parametrize("full", [True, False])
def test_the_rates_keep_their_sums(n, popsize, full):
    """Weights: the better half sums to 1 and falls; 1/μeff is the sum of its squares. C keeps its size where the trials
    come from it, and stays positive whatever the worse half says: c1 + cμ (Σ positive) <= 1."""
    r = rates_of(n, popsize, full)
    better = r.weights[: popsize // 2]
    assert_close(better.sum(), 1.0)
    assert_close(1 / (better**2).sum(), r.mu_eff)
    assert (np.diff(better) < 0).all()
    assert (np.diff(r.weights) <= 0).all()
    assert 0 < r.c_1 + r.c_mu <= 1
    assert n * r.c_mu * -r.weights[r.weights < 0].sum() <= 1 - r.c_1 - r.c_mu + TOL["f64"]
    draws = np.linalg.norm(np.random.default_rng(0).normal(size=(20_000, n)), axis=1)
    assert abs(draws.mean() / r.chi_n - 1) < TOL["statistics"]


def test_the_default_rates_in_ten_weights_are_those_of_the_papers_formulas():
    """Hansen 2016, table 1, by hand for n = 10, λ = 10: w'_i = ln 5.5 - ln i."""
    raw = math.log(5.5) - np.log(np.arange(1, 11))
    mu_eff = raw[:5].sum() ** 2 / (raw[:5] ** 2).sum()
    r = rates_of(10, 10, True)
    assert_close(r.mu_eff, mu_eff)
    assert_close(r.c_1, 2 / (11.3**2 + mu_eff))
    assert_close(r.c_mu, 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / (144 + mu_eff))
    assert_close(r.c_sigma, (mu_eff + 2) / (15 + mu_eff))
    assert_close(r.c_c, (4 + mu_eff / 10) / (14 + mu_eff / 5))
    assert_close(rates_of(10, 10, False).c_1, 4 * r.c_1)


def test_the_cloud_takes_the_shape_of_the_inverse_hessian():
    """½ wᵀ H w with eigenvalues 1, 100, 10⁴ along turned axes: C H is about a multiple of I."""
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    H = turned @ np.diag([1.0, 100.0, 1e4]) @ turned.T
    moves, _ = moves_of(fl.CMAES(), lambda w: 0.5 * float(w @ H @ w), np.ones(3), 150)
    eigenvalues = np.abs(np.linalg.eigvals(moves[-1].state["C"] @ H))
    assert eigenvalues.max() / eigenvalues.min() < 10, "where the condition of H is 10,000"
    assert 30 < moves[-1].notes["axis_ratio"] < 300


def test_a_diagonal_cloud_is_linear_in_the_weights_and_learns_their_scales():
    scales = np.geomspace(1, 1e3, 8)
    solver = fl.CMAES(covariance="diagonal")
    moves, _ = moves_of(solver, lambda w: float(np.sum(scales * w * w)), np.ones(8), 200)
    learned = moves[-1].state["C"] * scales
    assert moves[-1].state["C"].shape == (8,)
    assert learned.max() / learned.min() < 100, "where it was 1,000"
    assert fl.CMAES().init(np.zeros(200))["C"].shape == (200, 200)
    assert fl.CMAES().init(np.zeros(201))["C"].shape == (201,)
    assert fl.CMAES(covariance="full").init(np.zeros(201))["C"].ndim == 2


def test_restarts_double_the_population_and_the_last_run_says_why_it_ended():
    moves, objective = moves_of(fl.CMAES(restarts=2), bowl, [1.0, 1.0], 500)
    sizes = [move.notes["popsize"] for move in moves]
    assert sorted(set(sizes)) == [6, 12, 24]
    assert sizes == sorted(sizes)
    assert moves[-1].notes["restart"] == 2
    assert "the last of 3 runs has ended: the losses no longer differ" in moves[-1].done
    assert objective.evaluations == sum(sizes)
    assert moves_of(fl.CMAES(restarts=0), bowl, [1.0, 1.0], 500)[0][-1].done.startswith("the run has ended")


def test_bipop_gives_small_runs_as_many_evaluations_as_large_ones():
    moves, _ = moves_of(fl.CMAES(restarts=9, mode="bipop"), bowl, [1.0, 1.0], 600)
    kinds = {int(move.notes["restart"]): int(move.notes["popsize"]) for move in moves}
    assert kinds[0] == 6
    assert kinds[1] == 12
    large, small = moves[-1].state["spent"]
    assert 0 < small < 2 * large
    assert min(kinds.values()) < 12 < max(kinds.values())


def test_restarts_and_larger_clouds_find_the_lowest_of_many_minima():
    moves, _ = moves_of(fl.CMAES(2.0), rastrigin, [4.3, -3.7], 250)
    assert_close(moves[-1].value, 0.0, "step")


def test_a_loss_without_end_and_a_flat_one_end_the_run():
    endless, _ = moves_of(fl.CMAES(restarts=0), lambda w: float(w.sum()), [0.0, 0.0], 300)
    assert "grows without bound" in endless[-1].done
    flat, _ = moves_of(fl.CMAES(restarts=0), lambda w: 1.0, [0.0, 0.0], 300)
    assert "no longer differ" in flat[-1].done
    nowhere, _ = moves_of(fl.CMAES(restarts=0), lambda w: 1.0 if not w.any() else np.inf, [0.0, 0.0], 30)
    assert nowhere[-1].value == 1.0
    assert Cloud.of(nowhere[-1].state).generation == len(nowhere)


# Differential evolution and particle swarm.


def test_each_member_meets_three_different_others_any_of_them_equally_often():
    drawn = np.stack([_others(5, RNG) for _ in range(1500)])
    for i in range(5):
        assert (drawn[:, i] != i).all()
        shares = np.stack([(drawn[:, i] == j).mean(axis=0) for j in range(5) if j != i])
        assert np.abs(shares - 0.25).max() < 2 * TOL["statistics"]
    assert all(len(set(row)) == 3 for row in drawn.reshape(-1, 3))


def test_a_latin_hypercube_has_one_point_in_every_part_of_every_range():
    points = _latin(7, np.array([0.0, -7.0]), np.array([7.0, 7.0]), RNG)
    assert (np.sort(points[:, 0].astype(int)) == np.arange(7)).all()
    assert (np.sort(((points[:, 1] + 7) / 2).astype(int)) == np.arange(7)).all()


@pytest.mark.parametrize("strategy", ["best1bin", "rand1bin"])
def test_differential_evolution_ends_when_all_members_agree(strategy):
    solver = fl.DifferentialEvolution(strategy=strategy, tolerance=1e-6)
    moves, objective = moves_of(solver, lambda w: 1 + bowl(w), [1.0, 1.0], 200)
    assert "the losses of all 20 members agree" in moves[-1].done
    assert_close(moves[-1].w, [0.3, 0.3], "fit")
    assert objective.evaluations == 20 * len(moves) - 1, "the start was known"


def test_a_swarm_contracts_by_the_factor_of_its_paper_and_follows_its_neighbours():
    """Clerc & Kennedy 2002: χ = 0.7298 for φ = 4.1."""
    swarm = fl.ParticleSwarm(particles=5)
    assert_close(round(swarm._contraction(), 4), 0.7298)
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    assert swarm._leaders(values).tolist() == [1, 1, 1, 2, 0]
    assert fl.ParticleSwarm(topology="global")._leaders(values).tolist() == [1] * 5
    moves, _ = moves_of(fl.ParticleSwarm(tolerance=1e-6), lambda w: 1 + bowl(w), [1.0, 1.0], 200)
    assert "the best losses of all 50 particles agree" in moves[-1].done
    assert moves[-1].notes["speed"] < moves[0].notes["speed"]


# SPSA and grid search.


@pytest.mark.parametrize("n", [1, 100])
def test_spsa_looks_twice_an_iteration_whatever_the_number_of_weights(n):
    _, objective = moves_of(fl.SPSA(a=0.01, iterations=30), bowl, np.ones(n), 2)
    assert objective.evaluations == 2 * (2 * 30 + 1), "and once at the end of an epoch"


def test_spsas_first_step_is_its_formula():
    """w' = w - a / (A + 1)^alpha · (J(w + cΔ) - J(w - cΔ)) / (2 c Δ), at the Δ that was looked at; then A + 2."""
    solver = fl.SPSA(a=0.5, c=0.2, A=9.0, iterations=2, keep="last")
    moves, objective = moves_of(solver, rosenbrock, [0.5, 0.4], 1)
    w = np.array([0.5, 0.4])
    for k, (up, down) in enumerate((objective.points[:2], objective.points[2:4])):
        delta = (up - w) / (0.2 / (k + 1) ** 0.101)
        assert_close(np.abs(delta), [1.0, 1.0])
        assert_close((up + down) / 2, w)
        slope = (rosenbrock(up) - rosenbrock(down)) / (2 * 0.2 / (k + 1) ** 0.101)
        w = w - 0.5 / (9 + k + 1) ** 0.602 * slope / delta
    assert_close(moves[0].w, w)


def test_spsa_settles_where_a_noisy_loss_is_lowest():
    noise = np.random.default_rng(4)
    solver = fl.SPSA(c=0.3, iterations=100, keep="last")
    moves, _ = moves_of(solver, lambda w: bowl(w) + 0.01 * noise.normal(), [1.0, 1.0], 10)
    assert_close(moves[-1].w, [0.3, 0.3], "statistics")


def test_a_grid_has_every_combination_and_the_next_lies_round_its_best():
    solver = fl.GridSearch(points=5, low=-1.0, high=1.0)
    moves, objective = moves_of(solver, bowl, [0.0, 0.0], 2)
    first = np.stack(objective.points[:25])
    expected = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    assert_close(first, expected)
    assert_close(moves[0].w, [0.5, 0.5])
    assert_close(np.stack(objective.points[25:]).min(axis=0), [0.0, 0.0])
    assert_close(np.stack(objective.points[25:]).max(axis=0), [1.0, 1.0])
    assert_close(moves[1].w, [0.25, 0.25])
    far, _ = moves_of(fl.GridSearch(points=3), lambda w: bowl(w - 7), [0.0, 0.0], 80)
    assert_close(far[-1].w, [7.3, 7.3], "library")
    assert "as fine as its tolerance" in far[-1].done


REFUSED = {
    r"11\^14 points, at most 100,000 are tried: take no more than 4 weights": lambda: fl.GridSearch().init(
        np.zeros(14)
    ),
    r"F=3.*a number from 0 to 2": lambda: fl.DifferentialEvolution(F=3),
    r"CR=\(0.9, 0.1\).*a number from 0 to 1": lambda: fl.DifferentialEvolution(CR=(0.9, 0.1)),
    r"NP must be at least 5": lambda: fl.DifferentialEvolution(NP=4),
    r"their sum must be above 4": lambda: fl.ParticleSwarm(phi1=1.0),
    r"did you mean 'fast'": lambda: fl.SimulatedAnnealing(schedule="fst"),
    r"popsize must be at least 4": lambda: fl.CMAES(popsize=3),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(words):
    with pytest.raises(ConfigError, match=words) as caught:
        REFUSED[words]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optimizer", ["de", "pso(topology='global')"])
def test_where_the_lowest_loss_is_0_the_end_is_that_all_members_lie_together(optimizer):
    moves, _ = moves_of(as_minimizer(optimizer), bowl, [1.0, 1.0], 300)
    assert "weights of all" in moves[-1].done
    assert_close(moves[-1].value, 0.0)
