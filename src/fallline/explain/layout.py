"""Layout: places for the boxes of a directed graph, in ranks from top to bottom, with few crossings.

source  Sugiyama, Tagawa & Toda 1981: ranks by longest path, order by barycentres, then straightened
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, and for each edge the points that it passes, in the unit of the widths.

    width, height  of everything together
    """

    centres: list[tuple[float, float]]
    routes: list[list[tuple[float, float]]]
    width: float
    height: float


def place(
    widths: Sequence[float], edges: Sequence[tuple[int, int]], *, gap: float = 24.0, rise: float = 92.0
) -> Layout:
    """Boxes of the given widths (numbered so that every edge goes from a smaller to a larger number).

    gap   between boxes of one rank;  rise  from rank to rank
    """
    n = len(widths)
    ranks = _ranks(n, edges)
    sizes, links, paths = list(widths), [], []
    for (
        a,
        b,
    ) in edges:  # an edge over several ranks gets a narrow box in each, so that it finds its way between the others
        path = [a]
        for rank in range(ranks[a] + 1, ranks[b]):
            sizes.append(8.0)
            ranks.append(rank)
            path.append(len(sizes) - 1)
        path.append(b)
        links += list(pairwise(path))
        paths.append(path)
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=0) + 1)]
    for i, rank in enumerate(ranks):
        rows[rank].append(i)
    above, below = _neighbours(len(sizes), links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            _by_barycentre(row, rows, above if down else below)
    x = _straighten(rows, sizes, above, below, gap)
    left = min((x[i] - sizes[i] / 2 for i in range(len(sizes))), default=0.0)
    x = [v - left + gap for v in x]
    points = [(x[i], gap + rise * (ranks[i] + 0.5)) for i in range(len(sizes))]
    right = max((x[i] + sizes[i] / 2 for i in range(len(sizes))), default=0.0)
    return Layout(points[:n], [[points[i] for i in p] for p in paths], right + gap, rise * len(rows) + 2 * gap)


def _ranks(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest way from a source; sources stand right above their first reader."""
    ranks = [0] * n
    readers: list[list[int]] = [[] for _ in range(n)]
    for a, b in sorted(edges, key=lambda e: e[1]):
        ranks[b] = max(ranks[b], ranks[a] + 1)
        readers[a].append(b)
    targets = {b for _, b in edges}
    for a in range(n):
        if a not in targets and readers[a]:
            ranks[a] = min(ranks[b] for b in readers[a]) - 1
    return ranks


def _neighbours(n: int, links: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(n)]
    below: list[list[int]] = [[] for _ in range(n)]
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    return above, below


def _by_barycentre(row: list[int], rows: list[list[int]], near: list[list[int]]) -> None:
    """Sorts a row by the mean place of its neighbours in the row before; boxes without one keep theirs."""
    place = {i: k for other in rows for k, i in enumerate(other)}
    weight = {i: sum(place[j] for j in near[i]) / len(near[i]) if near[i] else float(place[i]) for i in row}
    row.sort(key=lambda i: weight[i])


def _straighten(
    rows: list[list[int]], sizes: Sequence[float], above: list[list[int]], below: list[list[int]], gap: float
) -> list[float]:
    """Places along the rows: each box near the mean of its neighbours, none over another."""
    x = [0.0] * len(sizes)
    for row in rows:
        at = 0.0
        for i in row:
            x[i] = at + sizes[i] / 2
            at += sizes[i] + gap
        middle = at / 2
        for i in row:
            x[i] -= middle
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [sum(x[j] for j in near[i]) / len(near[i]) if near[i] else x[i] for i in row]
            for i, at in zip(row, _apart(wanted, [sizes[i] for i in row], gap), strict=True):
                x[i] = at
    return x


def _apart(wanted: Sequence[float], sizes: Sequence[float], gap: float) -> list[float]:
    """The places nearest to the wanted ones (least squares) at which boxes in this order do not overlap.

    Boxes that collide are merged into a block, which stands at the mean of what its boxes want.
    """
    blocks: list[tuple[float, int, float]] = []  # sum of (wanted - offset), number of boxes, first offset
    offset, offsets = 0.0, []
    for k, size in enumerate(sizes):
        if k:
            offset += (sizes[k - 1] + size) / 2 + gap
        offsets.append(offset)
        block = (wanted[k] - offset, 1, offset)
        while blocks and blocks[-1][0] / blocks[-1][1] > block[0] / block[1]:
            total, count, first = blocks.pop()
            block = (total + block[0], count + block[1], first)
        blocks.append(block)
    starts = [total / count for total, count, _ in blocks for _ in range(count)]
    return [s + o for s, o in zip(starts, offsets, strict=True)]
