"""Drawings: every text in its box, no box over another, chains straight, nothing fetched from elsewhere."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.explain.draw import CHARACTER
from fallline.explain.layout import place

SVG = "{http://www.w3.org/2000/svg}"


def diamond(x):
    a = fl.sin(x)
    b = fl.cos(x)
    c = a * b
    return c


def chain(x):
    for _ in range(8):
        x = fl.sin(x)
    return x


def network(*layers: fl.Layer) -> fl.Layer:
    return fl.Sequential(*layers).build(fl.spec((1, 4), "float64"), 0)


GRAPHS = {
    "chain": lambda: fl.trace(chain, 1.0),
    "diamond": lambda: fl.trace(diamond, 1.0),
    "residual": lambda: fl.trace(network(fl.Residual(fl.Dense(4), fl.ReLU()), fl.Dense(1)), np.ones((1, 4))),
    "two layers": lambda: fl.trace(network(fl.Dense(3), fl.Tanh(), fl.Dense(1)), np.ones((1, 4))),
}


def boxes(svg: str) -> list[tuple[float, float, float, float, list[ET.Element]]]:
    """(left, top, right, bottom, texts) of every box."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h, group.findall(f"{SVG}text")))
    return found


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("by", [None, "module"])
def test_every_text_lies_inside_its_box_and_no_box_lies_over_another(name, by):
    found = boxes(GRAPHS[name]().draw(by=by).svg)
    for left, top, right, bottom, texts in found:
        for text in texts:
            x, y = float(text.get("x")), float(text.get("y"))
            assert left < x
            assert x + len(text.text) * CHARACTER < right
            assert top < y < bottom
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_every_node_is_drawn_with_value_and_partial():
    traced = GRAPHS["diamond"]()
    svg = traced.draw().svg
    for node in traced:
        assert f">{node.forward_source}<" in svg
    assert svg.count("∂c ") == len(traced)


def test_a_chain_is_a_straight_line():
    layout = place([50.0, 120.0, 80.0, 60.0], [(0, 1), (1, 2), (2, 3)])
    assert len({round(x, 6) for x, _ in layout.centres}) == 1
    assert all(b[1] > a[1] for a, b in pairwise(layout.centres))


def test_a_diamond_is_symmetric_and_has_no_crossing():
    layout = place([60.0] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    (x0, _), (x1, y1), (x2, y2), (x3, _) = layout.centres
    assert y1 == y2
    assert np.isclose(x0, x3)
    assert np.isclose(x1 + x2, 2 * x0)


def test_an_edge_over_several_ranks_goes_around_the_boxes_between():
    layout = place([60.0] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    around = layout.routes[3]
    assert len(around) == 4
    for (x, _), (centre, _) in zip(around[1:-1], layout.centres[1:3], strict=True):
        assert abs(x - centre) > 30


@given(st.integers(2, 14), st.data())
def test_boxes_of_any_graph_do_not_overlap(n, data):
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * n))
    widths = data.draw(st.lists(st.floats(20, 200), min_size=n, max_size=n))
    layout = place(widths, edges)
    for i in range(n):
        for j in range(i + 1, n):
            (xi, yi), (xj, yj) = layout.centres[i], layout.centres[j]
            assert yi != yj or abs(xi - xj) >= (widths[i] + widths[j]) / 2
    for a, b in edges:
        assert layout.centres[a][1] < layout.centres[b][1]
    assert all(w / 2 <= x <= layout.width - w / 2 for (x, _), w in zip(layout.centres, widths, strict=True))


def test_formulas_are_escaped_and_the_page_needs_nothing_else(tmp_path):
    def f(x):
        return fl.where(x < 1.0, x, x * x)

    drawing = fl.trace(f, 0.5).draw(tmp_path / "f.html")
    page = (tmp_path / "f.html").read_text(encoding="utf-8")
    assert "x &lt; 1" in drawing.svg
    assert drawing.svg in page
    addresses = set(re.findall(r"""https?://[^"'\s<)]+""", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script|<link|<img|url\(", page)


def test_a_large_graph_is_drawn_by_its_layers():
    def many(x):
        for _ in range(400):
            x = fl.sin(x)
        return x

    assert len(boxes(fl.trace(many, 1.0).draw().svg)) == 2


def test_a_wrong_suffix_or_grouping_is_refused(tmp_path):
    traced = fl.trace(diamond, 1.0)
    with pytest.raises(ConfigError, match=r"ends in \.svg or \.html"):
        traced.draw(tmp_path / "graph.png")
    with pytest.raises(ConfigError, match="by='layer'"):
        traced.draw(by="layer")
