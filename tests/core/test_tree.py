"""Trees: the leaves by path and role, and trees rebuilt with other leaves."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from fallline.core.errors import ConfigError
from fallline.core.tree import fill_leaves, leaves, map_leaves, map_records, records_in, with_leaves
from tests.core.shapes import filled, make
from tests.strategies import trees

Pair = namedtuple("Pair", "a b")


def test_paths() -> None:
    tree = {"a": 1.0, "b": [2.0, (3.0, None)], "c": Pair(4.0, {"d": 5.0})}
    assert leaves(tree) == {"a": 1.0, "b.0": 2.0, "b.1.0": 3.0, "c.0": 4.0, "c.1.d": 5.0}
    assert leaves(7.0) == {"": 7.0}
    assert leaves(None) == leaves(()) == {}


@pytest.mark.usefixtures("family")
def test_roles() -> None:
    group = filled()
    assert list(leaves(group)) == ["parts.1.W", "parts.1.mean", "W"]
    assert list(leaves(group, "param")) == ["parts.1.W", "W"]
    assert list(leaves(group, "buffer")) == ["parts.1.mean"]
    assert list(leaves({"x": np.ones(2)}, "param")) == ["x"]


@given(trees())
def test_maps_keep_the_structure(tree: Any) -> None:
    assert map_leaves(lambda _, leaf: leaf, tree) is tree
    doubled = map_leaves(lambda _, leaf: 2 * leaf, tree)
    assert list(leaves(doubled)) == list(leaves(tree))
    for path, leaf in leaves(tree).items():
        np.testing.assert_array_equal(leaves(doubled)[path], 2 * leaf)


@pytest.mark.usefixtures("family")
def test_records_are_rebuilt_only_where_something_changed() -> None:
    group: Any = filled()
    changed: Any = with_leaves(group, {"parts.1.W": np.zeros(4)})
    assert changed.parts[1].W.shape == (4,)
    assert changed.parts[0] is group.parts[0]
    assert changed.scale is group.scale
    assert with_leaves(group, {}) is group
    assert type(map_leaves(lambda _, leaf: leaf + 1, Pair(1, 2))) is Pair


@pytest.mark.usefixtures("family")
def test_a_recipe_is_filled_from_its_leaves() -> None:
    group: Any = filled()
    inner = group.parts[1].replace(W=None, mean=None)
    recipe = group.replace(parts=(group.parts[0], inner), W=None)
    assert leaves(recipe) == {}
    assert fill_leaves(recipe, leaves(group)) == group
    listed: Any = make("Group", W=(np.ones(1), np.zeros(2)))
    assert fill_leaves(make("Group"), leaves(listed)) == listed
    assert fill_leaves(Pair(make("Group"), 1), {"0.W": np.ones(1)}).a.W.shape == (1,)


def test_two_leaves_of_one_path_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"two leaves of the tree have the path 'a\.b'"):
        leaves({"a.b": 1.0, "a": {"b": 2.0}})


@pytest.mark.usefixtures("family")
def test_records_of_a_tree() -> None:
    tree = {"a": (make("Square", side=1), [make("Circle")]), "b": 3}
    assert [path for path, _ in records_in(tree)] == ["a.0", "a.1.0"]
    assert map_records(lambda _, r: r, tree) is tree
    changed = map_records(lambda path, r: make("Square", side=2) if path == "a.0" else r, tree)
    assert changed == {"a": (make("Square", side=2), [make("Circle")]), "b": 3}
    pair = map_records(lambda *_: make("Square", side=2), Pair(make("Circle"), 1))
    assert pair == Pair(make("Square", side=2), 1)
