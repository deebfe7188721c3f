"""Crossings: the order of the boxes of each rank from left to right in which few edges cross.

source  Sugiyama, Tagawa & Toda 1981: by barycentres; Gansner, Koutsofios, North & Vo 1993: neighbours are exchanged
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Sequence

SWEEPS = 16
Rows = list[list[int]]  # the slots of each rank
Near = list[list[int]]  # for each slot its neighbours in the rank above, or below


def ordered(ranks: Sequence[int], above: Near, below: Near, top: Sequence[int]) -> Rows:
    """The rows in the order with the fewest crossings that was met."""
    rows = _first_order(ranks, above, below)
    if top:
        rows[0] = list(top)
    movable = rows[1:] if top else rows
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        place = {i: k for row in rows for k, i in enumerate(row)}
        for row in movable if down else reversed(movable):
            _by_barycentre(row, place, above if down else below)
        _exchange(movable, place, above, below, equal=sweep % 4 > 1)
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _first_order(ranks: Sequence[int], above: Near, below: Near) -> Rows:
    """From each goal back along the operands, the first one first, so that they stand as in the formula."""
    rows: Rows = [[] for _ in range(max(ranks, default=-1) + 1)]
    seen: set[int] = set()
    for goal in (i for i, readers in enumerate(below) if not readers):
        stack = [goal]
        while stack:
            i = stack.pop()
            if i not in seen:
                seen.add(i)
                rows[ranks[i]].append(i)
                stack += reversed(above[i])
    return rows


def _by_barycentre(row: list[int], place: dict[int, int], near: Near) -> None:
    """Sorts a row by the mean place of its neighbours in the row before; slots without one keep their place."""
    spots = [k for k, i in enumerate(row) if near[i]]
    chosen = sorted((row[k] for k in spots), key=lambda i: sum(place[j] for j in near[i]) / len(near[i]))
    for k, i in zip(spots, chosen, strict=True):
        row[k] = i
        place[i] = k


def _exchange(rows: Rows, place: dict[int, int], above: Near, below: Near, *, equal: bool) -> None:
    """Exchanges neighbours as long as that leaves fewer crossings; once also where it leaves as many."""
    improved, rounds = True, 0
    while improved and rounds < SWEEPS:
        improved, rounds = False, rounds + 1
        for row in rows:
            for k in range(len(row) - 1):
                u, v = row[k], row[k + 1]
                here = sum(_crossed(near[u], near[v], place) for near in (above, below))
                if not here:
                    continue
                there = sum(_crossed(near[v], near[u], place) for near in (above, below))
                if there < here or (equal and there == here and rounds == 1):
                    row[k], row[k + 1] = v, u
                    place[u], place[v] = k + 1, k
                    improved = True


def _crossed(left: list[int], right: list[int], place: dict[int, int]) -> int:
    return sum(place[a] > place[b] for a in left for b in right)


def _crossings(rows: Rows, below: Near) -> int:
    place = {i: k for row in rows for k, i in enumerate(row)}
    count = 0
    for row in rows:
        ends: list[int] = []
        for i in row:
            found = sorted(place[j] for j in below[i])
            count += sum(len(ends) - bisect(ends, end) for end in found)
            for end in found:
                insort(ends, end)
    return count
