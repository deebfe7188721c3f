"""Layout: places for the boxes of a directed graph, in ranks from top to bottom, with few crossings.

source  Sugiyama, Tagawa & Toda 1981: ranks, then order, then places; Gansner, Koutsofios, North & Vo 1993: weights
        that keep long lines straight; Sander 1994: what belongs together in a column gets one place
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fallline.explain.drawing.crossings import SWEEPS, Near, Rows, ordered

PASSAGE = (8.0, 0.0)  # width and height of the place where an edge passes a rank


@dataclass(frozen=True)
class Layout:
    """Places of the slots: the boxes, and after them, numbered on, the passages of the edges through other ranks.

    rows   the slots of each rank, from left to right;  bands   top and bottom of each rank
    x      the middle of each slot;  sizes   its width and height
    paths  for each edge the slots that it passes; edges from one box share their passages
    width, height  of everything together
    """

    rows: Rows
    bands: list[tuple[float, float]]
    x: list[float]
    sizes: list[tuple[float, float]]
    paths: list[list[int]]
    ranks: list[int]
    width: float
    height: float

    def centre(self, slot: int) -> tuple[float, float]:
        return self.x[slot], sum(self.bands[self.ranks[slot]]) / 2

    def stretches(self, path: Sequence[int]) -> list[tuple[float, float, float]]:
        """The upright parts (x, upper end, lower end) of an edge, one in each rank; it bends between them."""
        found = [(self.x[s], *self.bands[self.ranks[s]]) for s in path]
        (first, _, bottom), (last, top, _) = found[0], found[-1]
        found[0] = (first, self.centre(path[0])[1] + self.sizes[path[0]][1] / 2, bottom)
        found[-1] = (last, top, self.centre(path[-1])[1] - self.sizes[path[-1]][1] / 2)
        return found


def place(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    *,
    top: Sequence[int] = (),
    bottom: Sequence[int] = (),
    gap: float = 24.0,
    rise: float = 38.0,
) -> Layout:
    """Boxes of the given widths and heights, joined by edges that make no circle.

    top, bottom  boxes that stand in the first rank, in this order, and in the last one
    gap          between boxes of one rank;  rise   between ranks
    """
    ranks = _ranks(len(sizes), edges, top, bottom)
    paths = _paths(ranks, edges)
    slots = [*sizes, *[PASSAGE] * (len(ranks) - len(sizes))]
    links = list(dict.fromkeys(link for path in paths for link in pairwise(path)))
    above, below = _neighbours(len(slots), links)
    rows = ordered(ranks, above, below, top)
    x = _straightened(rows, slots, above, below, len(sizes), gap)
    left = min((x[i] - w / 2 for i, (w, _) in enumerate(slots)), default=0.0) - gap
    x = [v - left for v in x]
    bands, y = [], gap
    for row in rows:
        height = max((slots[i][1] for i in row), default=0.0)
        bands.append((y, y + height))
        y += height + rise
    right = max((x[i] + w / 2 for i, (w, _) in enumerate(slots)), default=0.0)
    return Layout(rows, bands, x, slots, paths, ranks, right + gap, y - rise + gap)


def _ranks(n: int, edges: Sequence[tuple[int, int]], top: Sequence[int], bottom: Sequence[int]) -> list[int]:
    """Every box right above its first reader, at the longest way from a source if nothing reads it."""
    operands, readers = _neighbours(n, edges)
    order, ranks = _sorted(operands, readers), [int(bool(top))] * n
    for i in top:
        ranks[i] = 0
    for b in order:
        ranks[b] = max([ranks[b], *(ranks[a] + 1 for a in operands[b])])
    last = max(ranks, default=0) + 1
    for b in bottom:
        ranks[b] = last
    for a in reversed(order):
        if readers[a] and a not in top:
            ranks[a] = min(ranks[b] for b in readers[a]) - 1
    dense = {rank: i for i, rank in enumerate(sorted(set(ranks)))}
    return [dense[rank] for rank in ranks]


def _sorted(operands: Near, readers: Near) -> list[int]:
    """Every box after its operands."""
    missing = [len(a) for a in operands]
    order = [i for i, count in enumerate(missing) if not count]
    for i in order:
        for b in readers[i]:
            missing[b] -= 1
            if not missing[b]:
                order.append(b)
    return order


def _paths(ranks: list[int], edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The slots that each edge passes; passages are added to the ranks, one for each source and rank."""
    passages: dict[tuple[int, int], int] = {}
    paths = []
    for a, b in edges:
        between = range(ranks[a] + 1, ranks[b])
        for rank in between:
            if (a, rank) not in passages:
                passages[a, rank] = len(ranks)
                ranks.append(rank)
        paths.append([a, *(passages[a, rank] for rank in between), b])
    return paths


def _neighbours(n: int, links: Sequence[tuple[int, int]]) -> tuple[Near, Near]:
    above: Near = [[] for _ in range(n)]
    below: Near = [[] for _ in range(n)]
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    return above, below


def _straightened(
    rows: Rows, sizes: Sequence[tuple[float, float]], above: Near, below: Near, n: int, gap: float
) -> list[float]:
    """Places along the rows: each slot near its neighbours, long lines straight, none over another."""
    x = [0.0] * len(sizes)
    for row in rows:
        at = -(sum(sizes[i][0] for i in row) + gap * (len(row) - 1)) / 2
        for i in row:
            x[i] = at + sizes[i][0] / 2
            at += sizes[i][0] + gap
    depth = _depths(rows, above, n, {i for i in rows[0] if sizes[i] == PASSAGE} if rows else set())
    deepest = [max((depth[a] for a in near), default=0) for near in above]

    def pull(a: int, b: int) -> float:
        """How strong a link is: what is computed in few steps, such as a parameter, makes way for the long chain."""
        if a >= n and b >= n:
            return 8.0
        if a >= n or b >= n:
            return 0.2
        return 4.0 if depth[a] == deepest[b] else 1e-3

    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for row in rows if down else reversed(rows):
            weights = [[pull(j, i) if down else pull(i, j) for j in near[i]] for i in row]
            totals = [max(sum(w), 1e-6) for w in weights]
            wanted = [
                sum(w * x[j] for w, j in zip(ws, near[i], strict=True)) / total if near[i] else x[i]
                for i, ws, total in zip(row, weights, totals, strict=True)
            ]
            for i, at in zip(row, _apart(wanted, [sizes[i][0] for i in row], totals, gap), strict=True):
                x[i] = at
    deep = [[a for a in near if depth[a] == deepest[b]] for b, near in enumerate(above)]
    boxes = [[b for b in near if b < n] or near for near in below]
    return _upright(rows, sizes, _columns(rows, deep, boxes, n), x, gap)


def _depths(rows: Rows, above: Near, n: int, ports: set[int]) -> list[int]:
    """The boxes on the longest way from a source; a port counts as one step, since more was computed outside."""
    depth = [0] * len(above)
    for row in rows:
        for i in row:
            depth[i] = max([depth[a] + (i < n) for a in above[i]], default=int(i in ports))
    return depth


def _columns(rows: Rows, above: Near, below: Near, n: int) -> list[int]:
    """For each slot the column that it belongs to: chains and long lines, none of which crosses another."""
    column = list(range(len(above)))
    for upper, row in pairwise(rows):
        left = {a: k for k, a in enumerate(upper)}
        links = [
            (min(a, i) < n, left[a], k, a, i)
            for k, i in enumerate(row)
            for a in above[i]
            if (len(above[i]) == 1 and below[a] == [i]) or min(a, i) >= n
        ]
        taken: list[tuple[int, int]] = []
        for _, u, v, a, i in sorted(links):  # long lines first
            if all((u - u1) * (v - v1) > 0 for u1, v1 in taken):
                column[i] = column[a]
                taken.append((u, v))
    return column


def _upright(
    rows: Rows, sizes: Sequence[tuple[float, float]], column: Sequence[int], x: Sequence[float], gap: float
) -> list[float]:
    """Every column at one place, near those of its slots.

    Columns that overlap are pushed apart to the right, and to the left; in the mean of both they do not overlap either.
    """
    members: dict[int, list[int]] = {}
    for i, c in enumerate(column):
        members.setdefault(c, []).append(i)
    wanted = {c: sum(x[i] for i in found) / len(found) for c, found in members.items()}
    apart: dict[tuple[int, int], float] = {}
    for row in rows:
        for a, b in pairwise(row):
            pair = (column[a], column[b])
            apart[pair] = max(apart.get(pair, 0.0), (sizes[a][0] + sizes[b][0]) / 2 + gap)
    number = {c: k for k, c in enumerate(members)}
    left, right = _neighbours(len(members), [(number[a], number[b]) for a, b in apart])
    names, order = list(members), _sorted(left, right)
    low, high = dict(wanted), dict(wanted)
    for k in order:
        low[names[k]] = max([wanted[names[k]], *(low[names[j]] + apart[names[j], names[k]] for j in left[k])])
    for k in reversed(order):
        high[names[k]] = min([wanted[names[k]], *(high[names[j]] - apart[names[k], names[j]] for j in right[k])])
    return [(low[c] + high[c]) / 2 for c in column]


def _apart(wanted: Sequence[float], widths: Sequence[float], weights: Sequence[float], gap: float) -> list[float]:
    """The places nearest to the wanted ones (weighted least squares) at which slots in this order do not overlap.

    Slots that collide are merged into a block, which stands at the weighted mean of what its slots want.
    """
    blocks: list[tuple[float, float, int]] = []  # sum of weight · (wanted - offset), sum of weights, number of slots
    offset, offsets = 0.0, []
    for k, width in enumerate(widths):
        if k:
            offset += (widths[k - 1] + width) / 2 + gap
        offsets.append(offset)
        block = (weights[k] * (wanted[k] - offset), weights[k], 1)
        while blocks and blocks[-1][0] / blocks[-1][1] > block[0] / block[1]:
            total, weight, count = blocks.pop()
            block = (total + block[0], weight + block[1], count + block[2])
        blocks.append(block)
    starts = [total / weight for total, weight, count in blocks for _ in range(count)]
    return [s + o for s, o in zip(starts, offsets, strict=True)]
