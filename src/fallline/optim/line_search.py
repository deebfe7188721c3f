"""Line search: how far to go along a direction. φ(a) = J(w + a p), φ'(a) = g(w + a p) · p, and φ'(0) < 0."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from fallline.optim.solver import Objective, size_of

MOST_LOOKS = 20  # at J in one search: as many as Moré and Thuente allow
MOST_HALVINGS = 20  # of a step by `halved`
SLOPE_SHARE = 1e-4  # of the fall that the slope promises, a step of `halved` must bring at least so much (Armijo)
NOISE = 4.0  # rounding units of 1 + |J|: changes of J below them say nothing
FARTHER = 4.0  # times the way from the best step so far, a search goes on where J still falls
NEARER, SHRUNK = 0.66, 0.66  # Moré & Thuente 1994: share of the interval a trial may use; that it must shrink to
BACK = 0.2  # of the way to a step where J is not finite, the next trial takes
NARROW = 1e-14  # relative width of an interval in which no other step can be told apart


@dataclass(frozen=True)
class Point:
    """A step a with φ(a), φ'(a), and what was found there.

    endless  J still fell where the search gave up, FARTHER to the power of MOST_LOOKS times the first step away
    """

    a: float
    value: float
    slope: float
    w: np.ndarray = field(repr=False)
    g: np.ndarray = field(repr=False)
    endless: bool = False


def strong_wolfe(
    objective: Objective, w: np.ndarray, value: float, g: np.ndarray, p: np.ndarray, *, first: float, c1: float,
    c2: float,
) -> Point | None:  # fmt: skip
    """The first step a found with  φ(a) <= φ(0) + c1 a φ'(0)  and  |φ'(a)| <= c2 |φ'(0)|;  None if none lowers J.

    Trials come from cubics and secants through the two best points, kept inside an interval that is known to hold such
    a step and that shrinks by a third in every two trials. Where J cannot be told from φ(0) for rounding, slopes alone
    decide:  (2 c1 - 1) φ'(0) >= φ'(a) >= c2 φ'(0).
    first   the first trial;  value, g  at w;  each look costs one gradient
    source  Moré & Thuente 1994; rounding: Hager & Zhang 2005 (approximate Wolfe conditions)
    """
    start = Point(0.0, value, float(g @ p), w, g)
    noise = NOISE * objective.eps * (1 + abs(value))
    search = _Interval(start, c1)
    a = first
    for _ in range(MOST_LOOKS):
        there = w + a * p
        found = objective.gradient(there)
        t = Point(a, found[0], float(found[1] @ p), there, found[1])
        if not (math.isfinite(t.value) and math.isfinite(t.slope)):
            a = search.back(a)
            continue
        falls = t.value <= value + c1 * a * start.slope
        level = abs(t.value - value) <= noise and t.slope <= (2 * c1 - 1) * start.slope
        if (falls and abs(t.slope) <= -c2 * start.slope) or (level and t.slope >= c2 * start.slope):
            return t
        a = search.next(t)
        if search.is_narrow:
            break
    best = search.best
    if best.a and not search.bracketed and search.highest == math.inf:
        return replace(best, endless=True)
    return best if best.value < value - noise or (best.value < value and size_of(best.g) < size_of(g)) else None


class _Interval:
    """What a search knows: `best`, the lowest point so far, and `other`, the end on the other side of a minimum.

    Until a point lies high enough, the search compares ψ(a) = φ(a) - φ(0) - c1 φ'(0) a, whose minimum satisfies the
    first condition; see Moré & Thuente, section 2.
    """

    def __init__(self, start: Point, c1: float):
        self.start, self.tilt = start, c1 * start.slope
        self.best, self.other = start, start
        self.bracketed, self.tilted = False, True
        self.highest = math.inf  # below a step where J was not finite
        self._widths = [math.inf, math.inf]

    @property
    def is_narrow(self) -> bool:
        return self.bracketed and abs(self.other.a - self.best.a) <= NARROW * max(abs(self.other.a), abs(self.best.a))

    def back(self, a: float) -> float:
        """The trial after a step where J is not finite."""
        self.highest = a
        return self.best.a + BACK * (a - self.best.a)

    def next(self, t: Point) -> float:
        """Takes in a trial and gives the next one."""
        if self.tilted and t.value <= self.start.value + self.tilt * t.a and t.slope >= 0:
            self.tilted = False
        low, other, at = (self._seen(p) for p in (self.best, self.other, t))
        a, brackets = trial(low, other if self.bracketed else None, at, self._reach(t))
        if at[1] > low[1]:
            self.other = t
        else:
            if brackets and at[2] * low[2] < 0:
                self.other = self.best
            self.best = t
        self.bracketed = self.bracketed or brackets
        return self._safe(a) if self.bracketed else min(a, 0.5 * (t.a + self.highest))

    def _seen(self, p: Point) -> tuple[float, float, float]:
        """(a, ψ, ψ') or (a, φ, φ')"""
        return (p.a, p.value - self.tilt * p.a, p.slope - self.tilt) if self.tilted else (p.a, p.value, p.slope)

    def _reach(self, t: Point) -> float:
        """How far a trial beyond t may go."""
        return t.a + FARTHER * (t.a - self.best.a)

    def _safe(self, a: float) -> float:
        """The middle in place of a, where the interval has not shrunk enough in the last two trials."""
        low, high = sorted((self.best.a, self.other.a))
        wide = high - low >= SHRUNK * self._widths[0]
        self._widths = [self._widths[1], high - low]
        return 0.5 * (low + high) if wide or not low < a < high else a


def trial(
    low: tuple[float, float, float], other: tuple[float, float, float] | None, t: tuple[float, float, float],
    farthest: float,
) -> tuple[float, bool]:  # fmt: skip
    """(the next step, whether low and t are two sides of a minimum), from points (a, value, slope).

    low     the best before t;  other  the far end of the interval, None as long as there is none
    source  Moré & Thuente 1994, section 4, cases 1 to 4
    """
    if t[1] > low[1]:  # 1: t is higher
        c, q = _cubic(low, t), _parabola(low, t)
        return (c if abs(c - low[0]) < abs(q - low[0]) else 0.5 * (c + q)), True
    if t[2] * low[2] < 0:  # 2: lower, and the slope points back
        c, s = _cubic(low, t), _secant(low, t)
        return (c if abs(c - t[0]) >= abs(s - t[0]) else s), True
    if abs(t[2]) <= abs(low[2]):  # 3: lower, and flatter
        c, s = _beyond(low, t, farthest), _secant(low, t)
        if other is None:
            a = c if abs(c - t[0]) > abs(s - t[0]) else s
            return (min(a, farthest) if t[0] > low[0] else max(a, farthest)), False
        a, edge = (c if abs(c - t[0]) < abs(s - t[0]) else s), t[0] + NEARER * (other[0] - t[0])
        return (min(a, edge) if t[0] > low[0] else max(a, edge)), False
    return (farthest if other is None else _cubic(t, other)), False  # 4: lower, and steeper


def _cubic(u: tuple[float, float, float], v: tuple[float, float, float]) -> float:
    """Where the cubic with these values and slopes at u and v has its minimum.   Nocedal & Wright 2006, eq. 3.59"""
    d1 = u[2] + v[2] - 3 * (u[1] - v[1]) / (u[0] - v[0])
    root = math.sqrt(max(0.0, d1 * d1 - u[2] * v[2]))
    d2 = math.copysign(root, v[0] - u[0])
    below = v[2] - u[2] + 2 * d2
    return v[0] - (v[0] - u[0]) * (v[2] + d2 - d1) / below if below else 0.5 * (u[0] + v[0])


def _beyond(u: tuple[float, float, float], v: tuple[float, float, float], farthest: float) -> float:
    """The minimum of the same cubic if it lies beyond v, seen from u; else `farthest`."""
    d1 = u[2] + v[2] - 3 * (u[1] - v[1]) / (u[0] - v[0])
    square = d1 * d1 - u[2] * v[2]
    a = _cubic(u, v) if square > 0 else farthest
    return a if (a - v[0]) * (v[0] - u[0]) > 0 else farthest


def _parabola(u: tuple[float, float, float], v: tuple[float, float, float]) -> float:
    """The minimum of the parabola with value and slope of u and the value of v."""
    return u[0] + 0.5 * u[2] * (v[0] - u[0]) / ((u[1] - v[1]) / (v[0] - u[0]) + u[2])


def _secant(u: tuple[float, float, float], v: tuple[float, float, float]) -> float:
    """Where the slope is 0 on the line through both slopes; v where they are equal."""
    return v[0] + v[2] * (v[0] - u[0]) / (u[2] - v[2]) if u[2] != v[2] else v[0]


def halved(
    objective: Objective, w: np.ndarray, value: float, g: np.ndarray, step: np.ndarray
) -> tuple[float, np.ndarray, float] | None:
    """The first of the step, its half, its quarter … that lowers J: (share, w, J); None if none does.

    Where J stays the same within rounding, a smaller gradient decides.
    """
    slope, noise = float(g @ step), NOISE * objective.eps * (1 + abs(value))
    for k in range(MOST_HALVINGS):
        a = 0.5**k
        there = w + a * step
        found = objective.value(there)
        falls = found < value - noise and found <= value + SLOPE_SHARE * a * slope
        level = abs(found - value) <= noise
        if falls or (level and size_of(objective.gradient(there)[1]) < size_of(g)):
            return a, there, found
    return None


__all__ = ["Point", "halved", "strong_wolfe"]
