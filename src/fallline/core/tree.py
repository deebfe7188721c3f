"""Trees: records, tuples, lists and dicts with arrays at their leaves, addressed by path ("layers.0.W")."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fallline.core.errors import ConfigError
from fallline.core.record import Record, fields_of, role_of, roles_of

Leaf = Any
BRANCHES = (Record, tuple, list, dict)


def leaves(tree: Any, role: str | None = None) -> dict[str, Leaf]:
    """The arrays of a tree by path, in a fixed order.

    In a record, parameters and buffers are leaves and settings are not; records inside settings are
    walked. Outside records everything but None is a leaf.
    role  "param" or "buffer" keeps only those; leaves outside records count as parameters
    """
    found: list[tuple[str, Leaf, str]] = []
    _collect(tree, "", "param", found)
    listed = [(path, leaf) for path, leaf, own in found if role is None or own == role]
    made = dict(listed)
    if len(made) != len(listed):
        twice = next(path for path in made if sum(path == p for p, _ in listed) > 1)
        raise ConfigError(f"two leaves of the tree have the path {twice!r}: rename one of the keys")
    return made


def map_leaves(f: Callable[[str, Leaf], Leaf], tree: Any) -> Any:
    """The same tree with f(path, leaf) at its leaves."""
    return _rebuild(tree, "", f, inside=False)


def with_leaves(tree: Any, new: dict[str, Leaf]) -> Any:
    """The same tree with the leaves at the given paths replaced."""
    return map_leaves(lambda path, leaf: new.get(path, leaf), tree) if new else tree


def fill_leaves(tree: Any, arrays: dict[str, Leaf], path: str = "") -> Any:
    """A recipe with its parameters and buffers set from arrays by path, as `leaves` names them; others stay empty."""
    if isinstance(tree, Record):
        changes = {}
        for field in fields_of(tree):
            here, value = join(path, field.name), getattr(tree, field.name)
            if role_of(field) == "setting":
                changes[field.name] = fill_leaves(value, arrays, here)
            elif here in arrays:
                changes[field.name] = arrays[here]
            else:
                parts = [p for p in arrays if p.startswith(here + ".")]
                if parts:
                    changes[field.name] = tuple(arrays[join(here, i)] for i in range(len(parts)))
        return tree.replace(**changes)
    if isinstance(tree, dict):
        return {k: fill_leaves(v, arrays, join(path, k)) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [fill_leaves(v, arrays, join(path, i)) for i, v in enumerate(tree)]
        return _sequence_like(tree, items)
    return tree


def records_in(tree: Any, path: str = "") -> list[tuple[str, Record]]:
    """Every record of a tree with its path, outer ones first."""
    found: list[tuple[str, Record]] = []
    _collect_records(tree, path, found)
    return found


def _collect_records(node: Any, path: str, found: list[tuple[str, Record]]) -> None:
    if isinstance(node, Record):
        found.append((path, node))
    for name, value in _entries(node):
        if isinstance(value, BRANCHES):
            _collect_records(value, join(path, name), found)


def _entries(node: Any) -> Iterable[tuple[Any, Any]]:
    """(name, value) of what a branch of a tree holds."""
    if isinstance(node, Record):
        return [(name, getattr(node, name)) for name, _ in roles_of(node)]
    if isinstance(node, dict):
        return node.items()
    return enumerate(node) if isinstance(node, (tuple, list)) else ()


def map_records(f: Callable[[str, Record], Any], tree: Any, path: str = "") -> Any:
    """The same tree with f(path, record) in the place of each record, inner ones first."""
    if isinstance(tree, Record):
        changes = {}
        for name, value in _entries(tree):
            new = map_records(f, value, join(path, name)) if isinstance(value, BRANCHES) else value
            if new is not value:
                changes[name] = new
        return f(path, tree.replace(**changes) if changes else tree)
    if isinstance(tree, dict):
        made = {k: map_records(f, v, join(path, k)) for k, v in tree.items()}
        return made if any(made[k] is not tree[k] for k in tree) else tree
    if isinstance(tree, (tuple, list)):
        items = [map_records(f, v, join(path, i)) for i, v in enumerate(tree)]
        return tree if all(a is b for a, b in zip(items, tree, strict=True)) else _sequence_like(tree, items)
    return tree


def join(path: str, name: object) -> str:
    """The path of an entry inside the tree at that path."""
    return f"{path}.{name}" if path else str(name)


def _collect(node: Any, path: str, role: str, found: list[tuple[str, Leaf, str]]) -> None:
    """Adds (path, leaf, role) of every leaf."""
    if node is None:
        return
    if isinstance(node, Record):
        for name, own in roles_of(node):
            value = getattr(node, name)
            if own != "setting":
                _collect(value, join(path, name), own, found)
            elif isinstance(value, BRANCHES):
                _collect_settings(value, join(path, name), found)
    elif isinstance(node, (dict, tuple, list)):
        for name, value in _entries(node):
            _collect(value, join(path, name), role, found)
    else:
        found.append((path, node, role))


def _collect_settings(node: Any, path: str, found: list[tuple[str, Leaf, str]]) -> None:
    """Only records inside a setting hold leaves; the numbers beside them are configuration."""
    if isinstance(node, Record):
        _collect(node, path, "param", found)
        return
    for name, value in _entries(node):
        if isinstance(value, BRANCHES):
            _collect_settings(value, join(path, name), found)


def _rebuild(node: Any, path: str, f: Callable[[str, Leaf], Leaf], *, inside: bool) -> Any:
    """`inside` a setting only records are rebuilt; everything else there is kept as it is."""
    if node is None:
        return None
    if isinstance(node, Record):
        changes = {}
        for name, role in roles_of(node):
            value = getattr(node, name)
            if value is None or (role == "setting" and not isinstance(value, BRANCHES)):
                continue
            new = _rebuild(value, join(path, name), f, inside=role == "setting")
            if new is not value:
                changes[name] = new
        return node.replace(**changes) if changes else node
    if isinstance(node, dict):
        made = {k: _rebuild(v, join(path, k), f, inside=inside) for k, v in node.items()}
        return made if any(made[k] is not node[k] for k in node) else node
    if isinstance(node, (tuple, list)):
        items = [_rebuild(v, join(path, i), f, inside=inside) for i, v in enumerate(node)]
        if all(a is b for a, b in zip(items, node, strict=True)):
            return node
        return _sequence_like(node, items)
    return node if inside else f(path, node)


def _sequence_like(node: Any, items: list[Any]) -> Any:
    """The items as a list, tuple or named tuple, as the node is one."""
    return type(node)(*items) if hasattr(node, "_fields") else type(node)(items)
