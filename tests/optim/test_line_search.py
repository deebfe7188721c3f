"""The line search: the strong Wolfe conditions, on functions that make it hard, and where there is no end."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.optim.line_search import MOST_LOOKS, strong_wolfe
from fallline.optim.solver import Objective
from tests.tolerance import assert_close

C1, C2 = 1e-4, 0.1


class Line(Objective):
    """A function of one number, with its slope."""

    def __init__(self, f, slope):
        super().__init__()
        self.f, self.slope = f, slope

    def compute(self, w):
        return float(self.f(w[0]))

    def differentiate(self, w):
        return float(self.f(w[0])), np.array([float(self.slope(w[0]))])

    def multiply(self, w, direction):
        raise AssertionError

    def closed_form(self):
        raise AssertionError


def bend(a, b1, b2):
    """Moré & Thuente's γ(β1) √((1-a)² + β2²) + γ(β2) √(a² + β1²), their functions 4 to 6."""
    g1, g2 = (np.sqrt(1 + b * b) - b for b in (b1, b2))
    return g1 * np.sqrt((1 - a) ** 2 + b2 * b2) + g2 * np.sqrt(a * a + b1 * b1)


def bend_slope(a, b1, b2):
    g1, g2 = (np.sqrt(1 + b * b) - b for b in (b1, b2))
    return -g1 * (1 - a) / np.sqrt((1 - a) ** 2 + b2 * b2) + g2 * a / np.sqrt(a * a + b1 * b1)


HARD = {
    "1": (lambda a: -a / (a * a + 2), lambda a: (a * a - 2) / (a * a + 2) ** 2),
    "2": (lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4, lambda a: 5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3),
    "4": (lambda a: bend(a, 0.001, 0.001), lambda a: bend_slope(a, 0.001, 0.001)),
    "5": (lambda a: bend(a, 0.01, 0.001), lambda a: bend_slope(a, 0.01, 0.001)),
    "6": (lambda a: bend(a, 0.001, 0.01), lambda a: bend_slope(a, 0.001, 0.01)),
}


def searched(f, slope, first, c1=C1, c2=C2):
    line, w = Line(f, slope), np.zeros(1)
    value, g = line.differentiate(w)
    return strong_wolfe(line, w, value, g, np.ones(1), first=first, c1=c1, c2=c2), line


@pytest.mark.parametrize("first", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize("name", HARD)
def test_the_step_satisfies_both_conditions_on_more_and_thuentes_functions(name, first):
    f, slope = HARD[name]
    found, line = searched(f, slope, first)
    assert found.value <= f(0.0) + C1 * found.a * slope(0.0)
    assert abs(slope(found.a)) <= C2 * abs(slope(0.0))
    assert_close(found.w, [found.a], "exact")
    assert line.counts["gradient_evaluations"] <= 12
    assert line.counts["function_evaluations"] == 0


def test_a_first_step_that_is_good_enough_costs_one_look():
    found, line = searched(lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1), 1.0)
    assert found.a == 1.0
    assert line.evaluations == 1


def test_a_parabola_needs_two_looks():
    for first in (0.3, 5.0, 1000.0):
        found, line = searched(lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1), first, c2=0.01)
        assert_close(found.a, 1.0, "fit")  # of ψ, which is tilted by c1, it is the minimum
        assert line.evaluations == 2


def test_it_comes_back_from_where_there_are_no_numbers():
    """-log(1 - a) - 3a has its minimum at 2/3 and no value from 1 on."""
    with np.errstate(all="ignore"):
        found, _ = searched(lambda a: -np.log(1 - a) - 3 * a, lambda a: 1 / (1 - a) - 3 if a < 1 else np.nan, 50.0)
    assert 0.5 < found.a < 0.8


def test_a_way_down_without_an_end_is_told():
    found, line = searched(lambda a: -a, lambda a: -1.0, 1.0)
    assert found.endless
    assert line.evaluations == MOST_LOOKS
    assert not searched(*HARD["1"], 1.0)[0].endless


def test_without_any_fall_there_is_no_step():
    found, _ = searched(lambda a: abs(a), lambda a: -1.0, 1.0)  # the slope at 0 is wrong
    assert found is None


def test_where_only_rounding_is_left_the_slopes_decide():
    """1 + 1e-17 (a - 1)² is 1 everywhere in float64, but its slope is right."""
    found, _ = searched(lambda a: 1.0, lambda a: 2e-17 * (a - 1), 1.01)
    assert found.a == 1.01
