"""Drawings: every text in its box, no box over another, no edge through a box, nothing fetched from elsewhere."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.lines import columns_of
from fallline.explain.drawing.boxes import CHARACTER, LONGEST
from fallline.explain.drawing.draw import MOST_NODES
from fallline.explain.drawing.groups import Flow, Group, Wiring, grouped
from fallline.explain.drawing.page import page
from fallline.explain.drawing.shapes import THICK, THIN
from tests.explain.drawing.graphs import GRAPHS, diamond, long_chain, network
from tests.tolerance import assert_close

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> list[tuple[float, float, float, float, list[ET.Element]]]:
    """(left, top, right, bottom, texts) of every box, from the middle of the drawing."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if not group.get("class", "").startswith("node"):
            continue
        at = [float(v) for v in re.findall(r"-?[\d.]+", group.get("transform"))]
        rect = group.find(f"{SVG}rect")
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        found.append((at[0] + x, at[1] + y, at[0] + x + w, at[1] + y + h, group.findall(f"{SVG}text")))
    return found


def first_lines(svg: str) -> list[str]:
    return [texts[0].text for *_, texts in boxes(svg)]


def edge_points(svg: str) -> list[list[tuple[float, float]]]:
    """Points along every edge: M x,y V y, then C … V y for each rank."""
    found = []
    for d in re.findall(r'<g class="edge"><path d="([^"]+)"', svg):
        numbers = [[float(v) for v in re.findall(r"-?[\d.]+", part)] for part in re.findall(r"[MVC][^MVC]+", d)]
        (x, y), points = numbers[0], [tuple(numbers[0])]
        for part in numbers[1:]:
            ends = [x, y, x, y, x, part[0], x, part[0]] if len(part) == 1 else [x, y, *part]
            curve = np.array(ends).reshape(4, 2)
            for t in np.linspace(0, 1, 12):
                weights = np.array([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
                points.append(tuple(weights @ curve))
            x, y = ends[-2:]
        found.append(points)
    return found


@pytest.mark.parametrize("by", [None, "module"])
@pytest.mark.parametrize("name", GRAPHS)
def test_texts_lie_in_their_boxes_and_neither_boxes_nor_edges_over_boxes(name, by):
    svg = GRAPHS[name]().draw(by=by).svg
    found = boxes(svg)
    assert found
    for left, top, right, bottom, texts in found:
        for text in texts:
            x, y = float(text.get("x")), float(text.get("y"))
            middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
            assert left < middle_x + x
            assert middle_x + x + columns_of(text.text) * CHARACTER < right
            assert top < middle_y + y < bottom
    for a, b in combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for points in edge_points(svg):
        for x, y in points:
            assert not any(b[0] + 1 < x < b[2] - 1 and b[1] + 1 < y < b[3] - 1 for b in found)


def test_every_node_is_drawn_with_value_and_partial():
    traced = GRAPHS["diamond"]()
    svg = traced.draw().svg
    for node in traced:
        assert f">{node.forward_source}<" in svg
    assert len(re.findall(r">∂c [^<]*\d<", svg)) == len(traced)


def test_hovering_tells_formula_value_partial_and_rules():
    traced = fl.trace(lambda x: fl.sin(x) * 3.0, 1.0)
    words = [t.text for t in ET.fromstring(traced.draw().svg).iter(f"{SVG}title")]
    assert "v1 = sin(x)\nvalue 0.8414709848\ndJ/dv1 = 3\ndv1/dx = cos(x) = 0.5403023059" in words


def test_a_long_formula_is_cut_and_whole_when_hovered():
    def f(temperature_of_the_reactor, pressure_in_the_reactor):
        return temperature_of_the_reactor * pressure_in_the_reactor

    svg = fl.trace(f, 2.0, 3.0).draw().svg
    whole = "J = temperature_of_the_reactor · pressure_in_the_reactor"
    assert f"<title>{whole}\n" in svg
    assert f">{whole[: LONGEST - 1]}…<" in svg


def test_ideographs_are_twice_as_wide_and_accents_have_no_width():
    assert columns_of("損失 = x") == 8
    assert columns_of("a\u0302 = x") == 5


# Colours.


def test_the_sign_of_what_flows_back_gives_the_colour():
    #   dc/da = cos(1) > 0, and through b: dc/dx += sin(1) · −sin(1) < 0
    svg = fl.trace(diamond, 1.0).draw().svg
    inside = re.findall(r'<g class="edge">(.*?)</g>', svg)[:4]
    kinds = [re.findall(r'class="(positive|negative)"', edge) for edge in inside]
    assert sorted(map(tuple, kinds)) == [("negative",), ("positive",), ("positive",), ("positive",)]


def test_an_array_with_both_signs_has_stripes_by_their_share():
    def f(w, x):
        return (w * x).sum()

    svg = fl.trace(f, np.ones(4), np.array([1.0, 1.0, 1.0, -1.0])).draw().svg
    assert 'stroke-dasharray="3.0 9.0"' in svg  # a quarter of twelve pixels is negative


def test_ten_times_as_much_is_thicker_by_a_step():
    def f(a, b, c):
        return a * 1.0 + b * 0.1 + c * 0.01

    widths = {
        float(w) for w in re.findall(r'd="[^"]*V[^"]*" stroke-width="([\d.]+)"', fl.trace(f, 1.0, 1.0, 1.0).draw().svg)
    }
    step = (THICK - THIN) / 4
    assert widths == {round(THICK - k * step, 2) for k in range(3)}


def test_a_flow_adds_up_and_bears_any_number():
    flow = Flow().add(np.array([3.0, -1.0]), 0.0)
    assert_close(flow.size, (10 / 3) ** 0.5)
    assert_close(flow.negative_share, 0.25)
    assert Flow().add(np.array([np.nan, np.inf, 1e300])).size > 1e139
    assert Flow().size == 0
    assert Flow().add(np.zeros(3)).negative_share == 0


def test_a_graph_whose_numbers_overflow_is_drawn():
    def f(x):
        with np.errstate(all="ignore"):
            return fl.exp(x) * x

    with np.errstate(all="ignore"):
        svg = fl.trace(f, 1000.0).draw().svg
    assert "∂J inf" in svg


def test_the_legend_says_what_the_colours_mean_and_fits():
    root = ET.fromstring(fl.trace(diamond, 1.0).draw().svg)
    texts = root.findall(f"{SVG}text")
    assert {"positive", "negative", "both", "∂c: derivative of c by the node"} <= {t.text for t in texts}
    for text in texts:
        assert float(text.get("x")) + columns_of(text.text) * CHARACTER <= float(root.get("width"))
        assert float(text.get("y")) < float(root.get("height"))


# Groups.


def test_a_layer_is_a_box_with_its_parameters_inside():
    traced = network(fl.Dense(3), fl.Tanh(), fl.Dense(1))
    svg = traced.draw(by="module").svg
    assert first_lines(svg) == ["x", "layers.0 · 4 nodes", "layers.1 = tanh(layers.0)", "layers.2 · 4 nodes"]
    assert "<script" not in svg


def test_layers_in_layers_are_groups_in_groups():
    found = grouped(GRAPHS["blocks"]())
    block = next(m for m in found if isinstance(m, Group))
    assert block.title == "layers.0"
    assert [m.title for m in block.members if isinstance(m, Group)] == ["layers.0.layers.0", "layers.0.layers.2"]
    names = {n.name for n in block.nodes}
    assert {"layers.0.layers.0.W", "layers.0.layers.2.b", "layers.0"} <= names


def test_a_layer_called_twice_makes_two_groups_and_no_circle():
    dense = fl.Dense(4)
    first = fl.Sequential(dense).build(fl.spec((1, 4), "float64"), 0)

    def f(x):
        return first(fl.sin(first(x))).sum()

    traced = fl.trace(f, np.ones((1, 4)))
    titles = [m.title for m in grouped(traced) if isinstance(m, Group)]
    assert titles == ["layers.0", "layers.0 (2)"]
    level = Wiring(traced).level(grouped(traced))
    assert all(a < b for a, b in level.lines)


def test_lines_at_the_border_of_an_open_group_meet_ports():
    traced = network(fl.Dense(3), fl.Tanh(), fl.Dense(1))
    wiring = Wiring(traced)
    whole = wiring.level(grouped(traced))
    number, layer = next((i, m) for i, m in enumerate(whole.boxes) if isinstance(m, Group))
    inside = wiring.level(layer.members, whole)
    above = [a for a, b in whole.lines if b == number]
    below = [b for a, b in whole.lines if a == number]
    assert list(inside.top) == above
    assert list(inside.bottom) == below
    assert all(inside.boxes[port] is None for port in (*inside.top.values(), *inside.bottom.values()))
    assert_close(
        sum(f.squares for (a, _), f in inside.lines.items() if a in inside.top.values()),
        sum(f.squares for (_, b), f in whole.lines.items() if b == number),
    )


# Size.


@pytest.mark.parametrize("n", [400, 5000])
def test_the_middle_of_a_long_chain_is_one_box(n):
    traced = long_chain(n)
    start = time.process_time()
    drawing = traced.draw()
    whole = drawing.html
    seconds = time.process_time() - start
    lines = first_lines(drawing.svg)
    assert lines[:3] == ["x", "v1 = sin(x)", "v2 = sin(v1)"]
    assert lines[8] == f"… {n + 1 - 16} nodes …"
    assert lines[-1] == f"J = sin(v{n - 1})"
    assert len(lines) == 17
    assert f">v8 … v{7 + -(-(n - 15) // 16)}<" in whole  # what the box opens into
    assert seconds < 3


def test_a_few_hundred_nodes_are_all_drawn():
    assert len(boxes(long_chain(MOST_NODES - 1).draw().svg)) == MOST_NODES


@pytest.mark.slow
def test_a_hundred_thousand_nodes_are_drawn_in_seconds():
    traced = long_chain(100_000)
    start = time.process_time()
    assert len(traced.draw().html) < 1_000_000
    assert time.process_time() - start < 20


# The page.


def test_formulas_are_escaped_and_the_page_needs_nothing_else(tmp_path):
    def f(x):
        return fl.where(x < 1.0, x, x * x)

    drawing = fl.trace(f, 0.5).draw(tmp_path / "f.html")
    whole = (tmp_path / "f.html").read_text(encoding="utf-8")
    assert "x &lt; 1" in drawing.svg
    assert "x &lt; 1" in whole
    for text in (whole, drawing.svg):
        assert set(re.findall(r"""https?://[^"'\s<)]+""", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"<script src|<link|<img|url\(|@import", text)


def test_the_title_of_a_page_is_escaped_and_its_body_is_not():
    whole = page("</title><b>", "<p>text</p>", style=".mine { color: var(--ink); }")
    assert "<b>" not in whole
    assert whole.count("&lt;/title&gt;&lt;b&gt;") == 2  # as title and as heading
    assert "<p>text</p>" in whole
    assert ".mine { color: var(--ink); }" in whole


def test_a_drawing_can_be_put_into_another_page():
    drawing = fl.trace(diamond, 1.0).draw()
    whole = page("two", drawing.body + drawing.body, style=drawing.style)
    assert whole.count('<div class="drawing">') == 2
    assert whole.count("<!doctype html>") == 1


def test_saving_by_suffix(tmp_path, monkeypatch):
    traced = fl.trace(diamond, 1.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert traced.draw().save("~/home.HTML") == tmp_path / "home.HTML"
    assert (tmp_path / "home.HTML").read_text(encoding="utf-8").startswith("<!")
    assert traced.draw(tmp_path / "graph.svg").svg == (tmp_path / "graph.svg").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ends in \.svg or \.html"):
        traced.draw(tmp_path / "graph.png")
    with pytest.raises(ConfigError, match="cannot write"):
        traced.draw(tmp_path / "none" / "graph.svg")
    with pytest.raises(ConfigError, match="by='layer'"):
        traced.draw(by="layer")
