"""The frozen record: the one mechanism for everything that can be configured.

A record is a frozen dataclass whose fields are settings (numbers, names, other records), parameters
(`param()`, arrays that training changes by their gradients) or buffers (`buffer()`, arrays that training
changes otherwise). From the fields follow repr, equality, JSON, text form and cache keys.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.registry import Registry, nearest, plain_name

Array = Any  # an ndarray in a filled model, a graph Value while a program is traced, None in a recipe
R = TypeVar("R", bound="Record")

RECORDS: Registry[type[Record]] = Registry(
    "record", homes=("fallline.nn", "fallline.losses", "fallline.optim", "fallline.data", "fallline.train")
)

_REQUIRED = dataclasses.MISSING


def param() -> Any:
    """A field that holds a parameter: None in a recipe, an array in a model, changed by its gradient."""
    return dataclasses.field(default=None, metadata={"role": "param"})


def buffer() -> Any:
    """A field that holds state which training updates without a gradient (running statistics), or not at all."""
    return dataclasses.field(default=None, metadata={"role": "buffer"})


def setting(
    default: Any = _REQUIRED,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A field with a range; a value outside it is refused with one line that names the record and the range."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below, "choices": choices}
    metadata = {"role": "setting", **{k: v for k, v in limits.items() if v is not None}}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True)  # no specifiers: `param()` and `setting(1)` are defaults to a type checker
def record(cls: type[R]) -> type[R]:
    """Class decorator: a frozen dataclass, registered under its name so that JSON and text can name it."""
    if "aliases" not in vars(cls):
        cls.aliases = ()  # names are not inherited
    made: Any = dataclasses.dataclass(eq=False, repr=False)(cls)  # `Record` freezes it, once for all of them
    made._fields = dataclasses.fields(made)
    made._names = frozenset(field.name for field in made._fields)
    made._roles = tuple((field.name, role_of(field)) for field in made._fields)
    made._settings = tuple(field for field in made._fields if role_of(field) == "setting")
    RECORDS.add(made.__name__, made, made.aliases)
    return made


class Record:
    """What every record can do. Subclasses are decorated with `@record`."""

    aliases: ClassVar[tuple[str, ...]] = ()
    is_open: ClassVar[bool] = False  # True: it stands for a value that is still to be chosen, see train/space.py
    _fields: ClassVar[tuple[dataclasses.Field, ...]] = ()
    _names: ClassVar[frozenset[str]] = frozenset()  # of the fields
    _roles: ClassVar[tuple[tuple[str, str], ...]] = ()  # (name, role) of each
    _settings: ClassVar[tuple[dataclasses.Field, ...]] = ()

    def __post_init__(self) -> None:
        is_open = False
        for field in self._settings:
            value = getattr(self, field.name)
            if _is_open(value):
                is_open = True
                continue
            checked = _checked(self, field, value)
            if checked is not value:
                object.__setattr__(self, field.name, checked)
        if not is_open:  # a value that is not known yet is checked when it is
            self.validate()

    def validate(self) -> None:
        """Checks that involve more than one field; raises ConfigError."""

    def __setattr__(self, name: str, value: Any) -> None:
        """A field is set once, by the __init__ that the decorator made."""
        if name in vars(self) or name not in self._names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def replace(self: R, **changes: Any) -> R:
        """The same record with some fields changed."""
        return type(self)(**{name: getattr(self, name) for name, _ in self._roles} | changes)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name; deep: also those of records inside them, as scikit-learn names them (layers__0__units).

        scikit-learn's clone copies a record by handing it on, as nobody can change it.
        """
        found = {f.name: getattr(self, f.name) for f in fields_of(self) if role_of(f) == "setting"}
        return found | _inner_params(found) if deep else found

    def set_params(self: R, **params: Any) -> R:
        """The record with other settings, named as by `get_params`; this one stays what it is."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ConfigError(f"{type(self).__name__} has no setting {name!r}: {nearest(name, known)}")
        changed = {f.name: getattr(self, f.name) for f in fields_of(self) if role_of(f) == "setting"}
        for name, value in params.items():
            head, _, rest = name.partition("__")
            changed[head] = _with_param(changed[head], rest, value) if rest else value
        return self.replace(**changed)

    def __sklearn_clone__(self: R) -> R:
        return self

    def __repr__(self) -> str:
        shown = []
        for field in fields_of(self):
            value = getattr(self, field.name)
            if role_of(field) != "setting":
                if value is not None:
                    shown.append(f"{field.name}={_array_text(value)}")
            elif field.default is _REQUIRED or not _same(value, field.default):
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [f.name for f in fields_of(self)]
        return all(_same(getattr(self, n), getattr(other, n)) for n in names)

    def __hash__(self) -> int:
        return hash(key_of(self))


def fields_of(made: Any) -> tuple[dataclasses.Field, ...]:
    """The fields of a record or of its class, in order."""
    return made._fields


def roles_of(made: Any) -> tuple[tuple[str, str], ...]:
    """(name, role) of each field of a record or of its class, in order."""
    return made._roles


def role_of(field: dataclasses.Field) -> str:
    """The role of a field: "param", "buffer" or "setting"."""
    return field.metadata.get("role", "setting")


def _is_open(value: Any) -> bool:
    return isinstance(value, Record) and value.is_open


def _inner_params(found: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings of the records among these values, and in lists of them, by name__setting."""
    inner: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Record):
            inner |= {f"{name}__{rest}": part for rest, part in value.get_params().items()}
        elif isinstance(value, (tuple, list)):
            parts = dict(enumerate(value)) if any(isinstance(part, Record) for part in value) else {}
            inner |= {f"{name}__{i}": part for i, part in parts.items()}
            inner |= {f"{name}__{rest}": part for rest, part in _inner_params(parts).items()}
    return inner


def _with_param(holder: Any, name: str, value: Any) -> Any:
    """A record or a tuple of records with one setting inside it changed."""
    if isinstance(holder, Record):
        return holder.set_params(**{name: value})
    head, _, rest = name.partition("__")
    parts = list(holder)
    parts[int(head)] = _with_param(parts[int(head)], rest, value) if rest else value
    return type(holder)(parts)


def key_of(value: Any) -> Any:
    """A hashable key of the configuration: equal keys build equal programs.

    Parameters and buffers count by shape and dtype, arrays inside settings by their contents.
    """
    if isinstance(value, Record):
        return type(value), tuple([(name, _field_key(role, getattr(value, name))) for name, role in value._roles])
    if isinstance(value, Mapping):
        return tuple((k, key_of(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(key_of(v) for v in value)
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes()
    return (type(value), value)  # 1, 1.0 and True must not share a program


def _field_key(role: str, value: Any) -> Any:
    if role == "setting":
        return key_of(value)
    if isinstance(value, (list, tuple)):
        return tuple(_field_key(role, v) for v in value)
    return None if value is None else (tuple(value.shape), str(value.dtype))


def to_json(value: Any) -> Any:
    """The configuration as JSON: a record is {"type": name, field: value …}; parameters and buffers are left out."""
    if isinstance(value, Record):
        known = RECORDS[type(value).__name__]
        if known is not type(value):
            raise ConfigError(f"{type(value).__name__} is not the registered record of that name: rename it")
        fields = [f for f in fields_of(value) if role_of(f) == "setting"]
        return {"type": type(value).__name__, **{f.name: to_json(getattr(value, f.name)) for f in fields}}
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value) or "type" in value or set(value) == {"number"}:
            raise ConfigError(
                f"the keys {list(value)} cannot be written to a file: use text other than 'type' and 'number'"
            )
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(f"{value!r} cannot be written to a file: use a registered record instead of a function or object")


def from_json(data: Any) -> Any:
    """The records that `to_json` wrote; lists come back as tuples. Only registered records are made."""
    if isinstance(data, dict) and set(data) == {"number"}:
        return float(data["number"])
    if isinstance(data, dict) and "type" in data:
        return _made(RECORDS[str(data["type"])], (), {k: from_json(v) for k, v in data.items() if k != "type"})
    if isinstance(data, dict):
        return {k: from_json(v) for k, v in data.items()}
    if isinstance(data, list):
        return tuple(from_json(v) for v in data)
    return data


def records_of(base: type[R]) -> dict[str, type[R]]:
    """All registered records of one family, by name. Families live in one package, so only that one is loaded."""
    RECORDS.load(_home_of(base))
    return _known_of(base)


def _home_of(base: type) -> str:
    return ".".join(base.__module__.split(".")[:2])


def _known_of(base: type[R]) -> dict[str, type[R]]:
    return {n: cls for n, cls in RECORDS.known().items() if issubclass(cls, base)}


def record_class(name: str, base: type[R]) -> type[R]:
    """The record of a family by its name or alias, in any spelling; "did you mean" otherwise."""
    found: Any = RECORDS.loaded(name)  # the quick path; no two records share a name
    if found is not None and issubclass(found, base):
        return found
    RECORDS.load_naming(name, _home_of(base))
    found = _named(name, _known_of(base)) or _named(name, records_of(base))
    if found is not None:
        return found
    family = records_of(base)
    aliases = [alias for cls in family.values() for alias in cls.aliases]
    kind = base.__name__.lower()
    raise UnknownNameError(f"no {kind} is called {name!r}: {nearest(name, family, aliases)}")


def _named(name: str, family: Mapping[str, type[R]]) -> type[R] | None:
    spelt = plain_name(name)
    found = (cls for known, cls in family.items() if spelt in {plain_name(known), *map(plain_name, cls.aliases)})
    return next(found, None)


def as_record(value: str | type[R] | R, base: type[R]) -> R:
    """A record from itself, from its class, or from text: "adam", "adam(beta1=0.95)", "ema(adam(0.01), decay=0.99)"."""
    if isinstance(value, base):
        return value
    if isinstance(value, type) and issubclass(value, base):
        return _made(value, (), {})
    if isinstance(value, str):
        return _from_text(value, base)
    known = ", ".join(list(records_of(base))[:4])
    raise ConfigError(f"{value!r} is not a {base.__name__}: pass one, or the name of one ({known} …)")


def _from_text(text: str, base: type[R]) -> R:
    name, bracket, inside = text.strip().partition("(")
    cls = record_class(name.strip(), base)
    if not bracket:
        return _made(cls, (), {})
    try:
        call = ast.parse(f"f({inside}", mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        args = [_plain(a) for a in call.args]
        named = {str(k.arg): _plain(k.value) for k in call.keywords}
    except (SyntaxError, TypeError, ValueError):
        shape = f"{cls.__name__}(name=value, …)"
        raise ConfigError(f"cannot read {text!r}: write it as {shape} with plain values") from None
    return _made(cls, args, named)


def _plain(node: ast.expr) -> Any:
    """A value in a text; a name or a call stays text, for the field that takes a record to read."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_plain(part) for part in node.elts)
    named = node
    while isinstance(named, (ast.BinOp, ast.Call)):  # clip-norm(adam) reads as clip minus norm(adam)
        named = named.left if isinstance(named, ast.BinOp) else named.func
    return ast.unparse(node).replace(" - ", "-") if isinstance(named, ast.Name) else ast.literal_eval(node)


def _made(cls: type[R], args: Sequence[Any], named: dict[str, Any]) -> R:
    """The record with these settings; ConfigError for an unknown field or a missing one."""
    known = [f.name for f in fields_of(cls) if role_of(f) == "setting"]
    for given in named:
        if given not in known:
            raise ConfigError(f"{cls.__name__} has no field {given!r}: {nearest(given, known)}")
    try:
        return cls(*args, **named)
    except TypeError as error:
        reason = str(error).partition("() ")[2] or error
        raise ConfigError(f"{cls.__name__}: {reason}; its fields: {', '.join(known)}") from None


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int, np.integer),
    "float": (int, float, np.integer, np.floating),
    "bool": (bool, np.bool_),
    "str": (str,),
}
_CONVERTED: dict[str, type] = {"int": int, "float": float, "bool": bool}


def _checked(owner: Record, field: dataclasses.Field, value: Any) -> Any:
    """The field's value, converted where its annotation is a plain type; ConfigError outside the declared range."""
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    allowed = _KINDS.get(kind)
    if allowed and (not isinstance(value, allowed) or (kind != "bool" and isinstance(value, (bool, np.bool_)))):
        article = "an" if kind == "int" else "a"
        raise ConfigError(
            f"{_label(owner, field, value)}: {field.name} must be {article} {kind}, not {type(value).__name__}"
        )
    given, limits = value, field.metadata
    if allowed and kind in _CONVERTED:
        value = _CONVERTED[kind](value)
    choices = limits.get("choices")
    if choices is not None and value not in choices:
        named = [choice for choice in choices if isinstance(choice, str)]
        hint = nearest(value, named) if isinstance(value, str) else f"known: {', '.join(map(str, choices))}"
        raise ConfigError(f"{_label(owner, field, given)}: {hint}")
    if len(limits) > 1 and isinstance(value, (int, float)) and not isinstance(value, bool):
        for name, (words, holds) in _LIMITS.items():
            limit = limits.get(name)
            if limit is not None and not holds(value, limit):
                raise ConfigError(f"{_label(owner, field, given)}: {field.name} must be {words} {limit:g}")
    return value


def _label(owner: Record, field: dataclasses.Field, value: Any) -> str:
    """The setting in an error; made only for one, as the text of a setting may be that of a whole network."""
    return f"{type(owner).__name__}({field.name}={value!r})"


_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "at_least": ("at least", lambda v, limit: v >= limit),
    "above": ("above", lambda v, limit: v > limit),
    "at_most": ("at most", lambda v, limit: v <= limit),
    "below": ("below", lambda v, limit: v < limit),
}


def _array_text(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_array_text, value))})"
    return repr(value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)) and type(a) is type(b):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a is b or (type(a) is type(b) and bool(a == b))
