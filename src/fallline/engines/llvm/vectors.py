"""Matrix times vector: y[i] = Σ_k W[i, k] x[k], as dot products of rows or a sum of columns, as W lies."""

from __future__ import annotations

from fallline.engines.llvm.emitter import Function, Module, Number, vector
from fallline.engines.llvm.tiles import Tiling

ROWS = 4  # dot products at a time
CHAINS = 4  # partial sums over k in a sum of columns, so that one addition need not wait for the last

# The parameters of the functions below: strides in elements.
DOTS = (("ptr", "%W"), ("i64", "%w_row"), ("ptr", "%x"), ("i64", "%K"), ("i64", "%n"), ("ptr", "%y"))
SUMS = (
    ("ptr", "%W"), ("i64", "%w_col"), ("ptr", "%x"), ("i64", "%x_step"), ("i64", "%K"), ("i64", "%n"), ("ptr", "%y"),
)  # fmt: skip
PRODUCT = (
    ("ptr", "%W"), ("i64", "%w_row"), ("i64", "%w_col"), ("ptr", "%x"), ("i64", "%x_step"), ("i64", "%K"),
    ("i64", "%n"), ("ptr", "%y"), ("ptr", "%scratch"),
)  # fmt: skip


def write_vectors(module: Module, t: Tiling) -> None:
    """@<name>_product: y[:n] = W @ x for any strides; y is contiguous; scratch for K elements."""
    _write_dots(module, t)
    _write_sums(module, t)
    f = Function(module, f"{t.name}_product", PRODUCT, exported=False)
    several = f.compare("sgt", "%K", 1)
    # A W of one column (K = 1) may have any stride from column to column: by that of its rows it is a sum of columns.
    along = f.binary(
        "and", f.compare("eq", "%w_col", 1), f.binary("or", several, f.compare("ne", "%w_row", 1), "i1"), "i1"
    )

    def dots() -> list[str]:
        [x] = f.either(f.compare("eq", "%x_step", 1), lambda: ["%x"], gathered, ["ptr"])
        f.call(f"{t.name}_dots", [*DOTS[:2], ("ptr", x), *DOTS[3:]])
        return []

    def gathered() -> list[str]:
        f.loop("%K", lambda k: f.store(t.element, f.load(t.element, "%x", f.mul(k, "%x_step")), "%scratch", k))
        return ["%scratch"]

    def sums() -> list[str]:
        f.call(f"{t.name}_sums", SUMS)
        return []

    def each() -> list[str]:
        def one(i: str) -> None:
            W, y = f.at("%W", f.mul(i, "%w_row"), t.element), f.at("%y", i, t.element)
            f.call(f"{t.name}_sums", [("ptr", W), *SUMS[1:5], ("i64", 1), ("ptr", y)])

        f.loop("%n", one)
        return []

    f.either(along, dots, lambda: f.either(f.compare("eq", "%w_row", 1), sums, each, []), [])
    f.finish()


def _write_dots(module: Module, t: Tiling) -> None:
    """Rows of W are contiguous. Two partial sums for each row, in an order that only depends on K."""
    f = Function(module, f"{t.name}_dots", DOTS, exported=False)
    groups = f.mul(f.div("%n", ROWS), ROWS)
    whole, pairs = f.mul(f.div("%K", t.lanes), t.lanes), f.mul(f.div("%K", t.panel), t.panel)
    mask = f.mask_below(f.sub("%K", whole), t.lanes) if t.target.masks else None

    def block(rows: int, i: str) -> None:
        lines = [f.at("%W", f.mul(f.add(i, r), "%w_row"), t.element) for r in range(rows)]

        def add(k: Number, acc: list[str], under: str | None = None) -> list[str]:
            place = f.at("%x", k, t.element)
            x = f.load_masked(t.kind, place, under) if under else f.load(t.kind, place)
            places = [f.at(line, k, t.element) for line in lines]
            a = [f.load_masked(t.kind, p, under) if under else f.load(t.kind, p) for p in places]
            return [f.fma(a[r], x, acc[r], t.kind) for r in range(rows)]

        zeros = [(t.kind, "zeroinitializer")] * (2 * rows)
        acc = f.loop(
            pairs,
            lambda k, *s: [*add(k, list(s[:rows])), *add(f.add(k, t.lanes), list(s[rows:]))],
            step=t.panel,
            carried=zeros,
        )
        low = f.loop(
            whole, lambda k, *s: add(k, list(s)), start=pairs, step=t.lanes, carried=[(t.kind, s) for s in acc[:rows]]
        )
        high = acc[rows:]
        if mask:
            more = f.compare("slt", whole, "%K")
            high = f.either(more, lambda: add(whole, high, mask), lambda: high, [t.kind] * rows)
        y = totals(f, t, [f.binary("fadd", a, b, t.kind) for a, b in zip(low, high, strict=True)])
        if not mask:
            y = _scalar_rest(f, t, lines, whole, y)
        for r in range(rows):
            f.store(t.element, y[r], "%y", f.add(i, r))

    f.loop(groups, lambda i: block(ROWS, i), step=ROWS)
    f.loop("%n", lambda i: block(1, i), start=groups)
    f.finish()


def _scalar_rest(f: Function, t: Tiling, lines: list[str], start: Number, y: list[str]) -> list[str]:
    """y plus the products behind the last whole vector, one by one."""

    def add(k: str, *s: str) -> list[str]:
        x = f.load(t.element, "%x", k)
        return [f.fma(f.load(t.element, line, k), x, a, t.element) for line, a in zip(lines, s, strict=True)]

    return f.loop("%K", add, start=start, carried=[(t.element, a) for a in y])


def totals(f: Function, t: Tiling, sums: list[str]) -> list[str]:
    """The sum of the lanes of each vector: halves added to halves, so alike for one vector or several."""
    lanes = t.lanes
    while lanes > 1:
        lanes //= 2
        kind, wide = vector(t.element, lanes), vector(t.element, 2 * lanes)
        if lanes == 1:
            pairs = [[f.value(f"extractelement {wide} {s}, i64 {i}") for i in (0, 1)] for s in sums]
            sums = [f.binary("fadd", low, high, t.element) for low, high in pairs]
            break
        halves = [[f.value(_half(s, wide, lanes, h)) for h in (0, 1)] for s in sums]
        sums = [f.binary("fadd", low, high, kind) for low, high in halves]
    return sums


def _half(x: str, wide: str, lanes: int, high: int) -> str:
    picks = ", ".join(f"i32 {i + high * lanes}" for i in range(lanes))
    return f"shufflevector {wide} {x}, {wide} poison, {vector('i32', lanes)} <{picks}>"


def _write_sums(module: Module, t: Tiling) -> None:
    """Columns of W are contiguous: y = Σ_k x[k] W[:, k], some vectors of y at a time, in CHAINS partial sums over k."""
    f = Function(module, f"{t.name}_sums", SUMS, exported=False)
    many = 4 if t.target.registers > 16 else 2
    wide = f.mul(f.div("%n", many * t.lanes), many * t.lanes)
    whole = f.mul(f.div("%n", t.lanes), t.lanes)
    f.loop(wide, lambda i: _sum(f, t, i, many, t.lanes), step=many * t.lanes)
    f.loop(whole, lambda i: _sum(f, t, i, 1, t.lanes), start=wide, step=t.lanes)
    if t.target.masks:
        with f.when(f.compare("slt", whole, "%n")):
            _sum(f, t, whole, 1, t.lanes, f.mask_below(f.sub("%n", whole), t.lanes))
    else:
        f.loop("%n", lambda i: _sum(f, t, i, 1, 1), start=whole)
    f.finish()


def _sum(f: Function, t: Tiling, i: Number, vectors: int, lanes: int, mask: str | None = None) -> None:
    """y[i : i + vectors·lanes]"""
    kind = vector(t.element, lanes)
    start = f.at("%W", i, t.element)
    pitch, stride = f.mul(CHAINS, "%w_col"), f.mul(CHAINS, "%x_step")

    def add(w: str, x: str, acc: list[str]) -> list[str]:
        a = f.splat(f.load(t.element, x), t.element, lanes)
        b = [f.load_masked(kind, w, mask) if mask else f.load(kind, w, v * lanes) for v in range(vectors)]
        return [f.fma(b[v], a, acc[v], kind) for v in range(vectors)]

    def four(k: str, w: str, x: str, *acc: str) -> list[str]:
        new: list[str] = []
        for c in range(CHAINS):
            place, factor = f.at(w, f.mul(c, "%w_col"), t.element), f.at(x, f.mul(c, "%x_step"), t.element)
            new += add(place, factor, list(acc[c * vectors : (c + 1) * vectors]))
        return [f.at(w, pitch, t.element), f.at(x, stride, t.element), *new]

    def one(k: str, w: str, x: str, *acc: str) -> list[str]:
        return [f.at(w, "%w_col", t.element), f.at(x, "%x_step", t.element), *add(w, x, list(acc))]

    groups = f.mul(f.div("%K", CHAINS), CHAINS)
    zeros = [(kind, "zeroinitializer" if lanes > 1 else "0.0")] * (CHAINS * vectors)
    w, x, *acc = f.loop(groups, four, step=CHAINS, carried=[("ptr", start), ("ptr", "%x"), *zeros])
    first = [(kind, s) for s in acc[:vectors]]
    acc[:vectors] = f.loop("%K", one, start=groups, carried=[("ptr", w), ("ptr", x), *first])[2:]
    for v in range(vectors):
        chains = acc[v::vectors]
        low, high = (f.binary("fadd", chains[c], chains[c + 1], kind) for c in (0, 2))
        y = f.binary("fadd", low, high, kind)
        place = f.at("%y", f.add(i, v * lanes), t.element)
        if mask:
            f.store_masked(kind, y, place, mask)
        else:
            f.store(kind, y, place)
