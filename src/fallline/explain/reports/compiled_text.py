"""The words and tables of a Compilation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fallline.core.listing import Listing
from fallline.core.numbers import counted
from fallline.engines.report import CallFacts, ProgramFacts, shape_text
from fallline.explain.reports.report import Facts, Section

UNITS = ("", "k", "M", "G", "T")
CALL, NARROW_CALL = 44, 30  # columns of a call's words where there is little room, and where there is less


def quantity(number: float, unit: str) -> str:
    """A number with three digits and a unit: 12.3 kB, 1.05 Mflop; "" for none."""
    if not number:
        return ""
    size, power = float(number), 0
    while size >= 999.5 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    digits = 0 if size >= 99.5 or not power else 1 if size >= 9.95 else 2
    return f"{size:.{digits}f} {UNITS[power]}{unit}"


def duration(seconds: float | None) -> str:
    """Seconds with three digits: 1.23 µs."""
    if seconds is None:
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def sections_of(facts: ProgramFacts, sort: str) -> list[Section]:
    parts = [Section("Program", [_program(facts)]), Section("Calls", [calls_listing(facts, sort)])]
    if facts.code is not None:
        parts.append(Section("Kernels that serve more than one call", [_kernels(facts)]))
    if facts.engine != "numpy":
        parts.append(Section("Left to NumPy", [_fallbacks(facts)]))
    return parts


# The facts.


def _program(facts: ProgramFacts) -> Facts:
    memory, calls = facts.memory, facts.calls
    found = Facts([("target", facts.target), ("precision", facts.precision), ("threads", facts.threads)])
    found += [
        ("nodes", _nodes(facts)),
        ("calls", _calls(facts)),
        ("memory", f"{quantity(memory.block, 'B') or '0 B'} for {counted(memory.arrays, 'array')} in "
         f"{counted(memory.places, 'place')}; {quantity(memory.separate, 'B') or '0 B'} if none shared one, "
         f"{quantity(memory.unfused, 'B') or '0 B'} with an array for each node"),
    ]  # fmt: skip
    if memory.held:
        found.append(("held", f"{quantity(memory.held, 'B')} of inputs in the engine's own memory"))
    if facts.in_place or facts.copied:
        words = f"{counted(len(facts.in_place), 'array')} overwritten in place, {len(facts.copied)} copied"
        found.append(("updates", words + (f" ({_some(facts.copied)})" if facts.copied else "")))
    if facts.code is not None:
        found += [("kernels", _sharing(facts)), ("code", _code(facts))]
    if facts.engine != "numpy":
        left = facts.fallbacks
        found.append(("NumPy", f"computes {counted(len(left), 'node')}, see below" if left else "computes nothing"))
    read, written, flops = (sum(getattr(c, name) for c in calls) for name in ("read", "written", "flops"))
    work = quantity(flops, "flop") or "no floating-point operations"
    found.append(
        ("work", f"{work}, {quantity(read, 'B') or '0 B'} read, {quantity(written, 'B') or '0 B'} written a run")
    )
    if facts.run_seconds is not None:
        alone = sum(c.seconds or 0.0 for c in calls)
        rate = f"{flops / facts.run_seconds / 1e9:.3g} GF/s; " if flops else ""
        where = "" if facts.engine == "numpy" else " on one thread"
        words = f"{duration(facts.run_seconds)} a run{where}, {rate}each call alone, added up: {duration(alone)}"
        found.append(("measured", words))
    return found


def _nodes(facts: ProgramFacts) -> str:
    nodes = facts.optimized.calls
    computed = sum(len(call.nodes) for call in facts.calls)
    views = len(nodes) - computed
    return f"{len(facts.given.calls)}, after the passes {len(nodes)}: {computed} computed, {counted(views, 'view')}"


def _calls(facts: ProgramFacts) -> str:
    moving = sum(not call.nodes for call in facts.calls)
    words = f"{len(facts.calls)}"
    if moving:
        words += f", {moving} of them only move or join arrays"
    if facts.waits:
        words += f"; {counted(facts.waits, 'wait')} of the threads for each other"
    return words


def _sharing(facts: ProgramFacts) -> str:
    several = [name for name, calls in _users(facts).items() if len(calls) > 1]
    return f"{len(facts.kernels)} different; serving more than one call: {len(several)}"


def _code(facts: ProgramFacts) -> str:
    code = facts.code
    assert code is not None
    took = f" in {duration(code.compile_seconds)}" if code.compiled else ""
    words = f"{counted(code.compiled, 'object')} compiled{took}, {code.loaded} read from disk, "
    return f"{words}{counted(code.reused, 'kernel')} in memory already; {duration(facts.seconds)} in all"


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], *["…"] * (len(names) > 3)])


# The tables.


def calls_listing(facts: ProgramFacts, sort: str = "order", title: str = "") -> Listing:
    """One row for each call and one for the sums, with fewer columns where there is little room."""
    numbered = list(enumerate(facts.calls))
    if sort == "time":
        numbered.sort(key=lambda pair: -(pair[1].seconds or 0.0))
    total = sum(call.seconds or 0.0 for call in facts.calls)
    cells = {name: [cell(k, call, total) for k, call in numbered] for name, cell in _CELLS.items()}
    for name, value in _totals(facts.calls, total).items():
        cells[name].append(value)
    timed = ("time", "GF/s", "share") if facts.run_seconds is not None else ()
    work, units = ("flops", "read", "written"), () if facts.engine == "numpy" else ("units",)
    forms = [
        ("", "call", "layer", "shape", "nodes", "stores", *units, *work, *timed, "kernel"),
        ("", "call ", "layer ", "nodes", *units, *(("flops", *timed) if timed else work)),
        ("", "call  ", "layer ", *(timed or work)),
        ("", "call  ", *(timed or work)),
    ]
    layers = any(call.scopes for call in facts.calls)
    made = None
    for names in reversed(forms):
        shown = {name.strip(): cells[name] for name in names if layers or name.strip() != "layer"}
        made = Listing(title, shown, [""] * (len(numbered) + 1), note=_note(facts, shown), narrow=made)
    assert made is not None
    return made


def data_listing(facts: ProgramFacts) -> Listing:
    """The same in plain numbers, for a frame."""
    words = {"call": lambda c: c.label, "layer": lambda c: ", ".join(c.scopes), "shape": lambda c: shape_text(c.shape)}
    numbers = {
        name: (lambda c, name=name: getattr(c, name)) for name in ("units", "flops", "read", "written", "seconds")
    }  # fmt: skip
    more = {"nodes": lambda c: len(c.nodes), **numbers, "kernel": lambda c: ", ".join(c.kernels)}
    more["why NumPy"] = lambda c: c.reason
    columns: dict[str, list[Any]] = {name: [cell(c) for c in facts.calls] for name, cell in (words | more).items()}
    if facts.run_seconds is None:
        del columns["seconds"]
    return Listing("", columns, [""] * len(facts.calls))


_CELLS: dict[str, Any] = {
    "": lambda k, call, total: k,
    "call": lambda k, call, total: call.label,
    "call ": lambda k, call, total: _short(call.label, CALL),
    "call  ": lambda k, call, total: _short(call.label, NARROW_CALL),
    "layer": lambda k, call, total: ", ".join(call.scopes),
    "layer ": lambda k, call, total: _scope(call),
    "shape": lambda k, call, total: shape_text(call.shape),
    "nodes": lambda k, call, total: len(call.nodes) or None,
    "stores": lambda k, call, total: _stored(call),
    "units": lambda k, call, total: call.units,
    "flops": lambda k, call, total: quantity(call.flops, "").strip(),
    "read": lambda k, call, total: quantity(call.read, "B"),
    "written": lambda k, call, total: quantity(call.written, "B"),
    "time": lambda k, call, total: duration(call.seconds),
    "GF/s": lambda k, call, total: f"{call.gflops:.3g}" if call.gflops else "",
    "share": lambda k, call, total: f"{(call.seconds or 0.0) / total:.1%}" if total else "",
    "kernel": lambda k, call, total: ", ".join(call.kernels),
}


def _totals(calls: Sequence[CallFacts], seconds: float) -> dict[str, Any]:
    flops, read, written = (sum(getattr(c, name) for c in calls) for name in ("flops", "read", "written"))
    found: dict[str, Any] = dict.fromkeys(_CELLS)
    found |= {"call": "all", "call ": "all", "call  ": "all", "nodes": sum(len(c.nodes) for c in calls)}
    found |= {"flops": quantity(flops, "").strip(), "read": quantity(read, "B"), "written": quantity(written, "B")}
    if seconds:
        found |= {"time": duration(seconds), "share": "100%", "GF/s": f"{flops / seconds / 1e9:.3g}" if flops else ""}
    return found


def _note(facts: ProgramFacts, columns: Collection[str]) -> str:
    """What the columns mean."""
    words = [facts.note] if facts.note else []
    if "units" in columns:
        words.append("nodes: computed together, in one pass; units: parts that threads may share.")
    if "time" in columns:
        where = "" if facts.engine == "numpy" else ", on one thread"
        words.append(f"time: the call alone, over and over{where}, so that its arrays are in the caches.")
    return " ".join(words)


def _short(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1].rstrip(" ,") + "…"


def _scope(call: CallFacts) -> str:
    scopes = call.scopes
    return "" if not scopes else scopes[0] + (f" +{len(scopes) - 1}" if len(scopes) > 1 else "")


def _stored(call: CallFacts) -> str:
    return ", ".join(f"{n.op.name} {shape_text(n.shape)}".strip() for n in call.stored)


def _users(facts: ProgramFacts) -> dict[str, list[int]]:
    """The numbers of the calls that run each kernel."""
    found: dict[str, list[int]] = {name: [] for name in facts.kernels}
    for k, call in enumerate(facts.calls):
        for name in call.kernels:
            if name in found:
                found[name].append(k)
    return found


def _kernels(facts: ProgramFacts) -> Listing:
    shared = {name: calls for name, calls in _users(facts).items() if len(calls) > 1}
    order = sorted(shared, key=lambda name: -len(shared[name]))
    columns: dict[str, list[Any]] = {
        "kernel": order,
        "what it does": [facts.kernels[name] for name in order],
        "calls": [", ".join(map(str, shared[name])) for name in order],
    }
    return Listing("", columns, [""] * len(order))


def _fallbacks(facts: ProgramFacts) -> Listing:
    calls = [(k, call) for k, call in enumerate(facts.calls) if call.reason]
    columns: dict[str, list[Any]] = {
        "call": [k for k, _ in calls],
        "op": [call.nodes[0].op.name for _, call in calls],
        "result": [str(call.nodes[0].spec) for _, call in calls],
        "layer": [_scope(call) for _, call in calls],
        "why": [call.reason for _, call in calls],
    }
    if not any(columns["layer"]):
        del columns["layer"]
    return Listing("", columns, [""] * len(calls), note="These run in Python, between the native calls.")


__all__ = ["calls_listing", "data_listing", "duration", "quantity", "sections_of"]
