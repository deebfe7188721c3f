"""Layout: no box over another, no edge through a box, chains straight, few crossings."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.explain.drawing.layout import Layout, place
from tests.tolerance import assert_close


def laid_out(widths, edges, **options) -> Layout:
    return place([(w, 40.0) for w in widths], edges, **options)


def crossings(layout: Layout) -> int:
    """Pairs of edges that change sides between two ranks, each counted once."""
    links = {link for path in layout.paths for link in pairwise(path)}
    return sum(
        layout.ranks[a] == layout.ranks[c] and (layout.x[a] - layout.x[c]) * (layout.x[b] - layout.x[d]) < 0
        for (a, b), (c, d) in combinations(links, 2)
    )


def test_a_chain_is_a_straight_line():
    layout = laid_out([50, 120, 80, 60], [(0, 1), (1, 2), (2, 3)])
    assert_close(np.array(layout.x), np.full(4, layout.x[0]))
    tops = [layout.centre(i)[1] for i in range(4)]
    assert tops == sorted(tops)


def test_a_diamond_is_symmetric_and_has_no_crossing():
    layout = laid_out([60] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    assert layout.ranks[1] == layout.ranks[2]
    assert_close(layout.x[0], layout.x[3])
    assert_close(layout.x[1] + layout.x[2], 2 * layout.x[0])
    assert crossings(layout) == 0


def test_an_edge_over_several_ranks_goes_around_the_boxes_between():
    layout = laid_out([60] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    around = layout.stretches(layout.paths[3])
    assert len(around) == 4
    for (x, _, _), box in zip(around[1:-1], (1, 2), strict=True):
        assert abs(x - layout.x[box]) > 30


def test_parameters_stand_right_above_their_reader_and_leave_the_chain_straight():
    #   x - 1 - 2 - 3 - J, where 1, 2, 3 read a parameter each
    edges = [(0, 1), (5, 1), (1, 2), (6, 2), (2, 3), (7, 3), (3, 4)]
    layout = laid_out([90] * 8, edges)
    assert [layout.ranks[i] for i in (5, 6, 7)] == [layout.ranks[i] - 1 for i in (1, 2, 3)]
    assert np.ptp([layout.x[i] for i in (1, 2, 3, 4)]) < 1  # less than a pixel
    assert crossings(layout) == 0


def test_what_is_read_late_stands_late():
    #   0 - 1 - 2 - 3 - 4, and 5 = f(0) is read by 4 alone
    layout = laid_out([60] * 6, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 4)])
    assert layout.ranks[5] == layout.ranks[3]


def test_edges_from_one_box_share_their_way():
    #   a chain 0 … 9, whose later boxes all read box 0
    edges = [*pairwise(range(10)), *((0, b) for b in range(3, 10))]
    layout = laid_out([60] * 10, edges)
    assert len(layout.sizes) == 10 + 8  # one passage a rank
    way = [x for x, _, _ in layout.stretches(layout.paths[-1])[1:-1]]
    assert_close(np.array(way), np.full(len(way), way[0]))


def test_a_crossing_that_need_not_be_is_removed():
    #   three chains, given in an order that crosses them; and two ladders
    assert crossings(laid_out([50] * 6, [(0, 5), (1, 4), (2, 3)])) == 0
    ladder = [(0, 1), (0, 2), (1, 4), (2, 3), (3, 5), (4, 6), (5, 7), (6, 7)]
    assert crossings(laid_out([50] * 8, ladder)) == 0


def test_ports_stand_at_the_border():
    layout = laid_out([40] * 5, [(0, 2), (1, 3), (2, 3), (3, 4)], top=[1, 0], bottom=[4])
    assert layout.rows[0] == [1, 0]
    assert layout.x[1] < layout.x[0]
    assert layout.rows[-1] == [4]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_place_is_no_error(n):
    layout = laid_out([50] * n, [])
    assert len(layout.x) == n
    assert layout.width >= 0


@given(st.integers(2, 14), st.data())
def test_boxes_of_any_graph_do_not_overlap_and_no_edge_passes_through_one(n, data):
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * n))
    widths = data.draw(st.lists(st.floats(20, 200), min_size=n, max_size=n))
    layout = laid_out(widths, edges)
    for row in layout.rows:
        for a, b in pairwise(row):
            assert layout.x[b] - layout.x[a] >= (layout.sizes[a][0] + layout.sizes[b][0]) / 2 + 23.9
    for (a, b), path in zip(edges, layout.paths, strict=True):
        assert path[0] == a
        assert path[-1] == b
        assert [layout.ranks[s] for s in path] == list(range(layout.ranks[a], layout.ranks[b] + 1))
        for slot, (x, _, _) in zip(path[1:-1], layout.stretches(path)[1:-1], strict=True):
            boxes = [i for i in layout.rows[layout.ranks[slot]] if i < n]
            assert all(abs(x - layout.x[i]) > widths[i] / 2 for i in boxes)
    assert all(w / 2 <= layout.x[i] <= layout.width - w / 2 for i, w in enumerate(widths))
