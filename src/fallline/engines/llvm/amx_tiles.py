"""The inside of a bf16 product: packed blocks times packed blocks on the tile registers of AMX."""

from __future__ import annotations

from collections.abc import Sequence

from fallline.engines.llvm.amx_packing import DEPTH, LINES, TILE, F
from fallline.engines.llvm.emitter import Function, Module, Number, given

# Most tiles of depth in one pass, by parts: a strip of 32 lines of each factor then share the first cache. Measured:
# 8 to 16 differ by less than 8 %; 4 costs 15 % of a bf16 product.
DEEP = {1: 12, 2: 8}

# Packed strips, the extents, the sums and the length of their rows, whether they begin at 0 and are complete at the
# end; C and the length of its rows, null where the sums stay.
BLOCK_SUMS = (
    ("ptr", "%a"), ("ptr", "%b"), ("i64", "%rows"), ("i64", "%columns"), ("i64", "%depth"),
    ("ptr", "%sums"), ("i64", "%ld"), ("i1", "%begins"), ("i1", "%ends"), ("ptr", "%c"), ("i64", "%c_row"),
)  # fmt: skip
# Strips of one or two tiles of lines, the way from one strip to the next, the tiles of depth; the sums so far as
# above, and where the new ones go.
TILES = (
    ("ptr", "%a"), ("ptr", "%b"), ("i64", "%strip"), ("i64", "%steps"),
    ("ptr", "%sums"), ("i64", "%ld"), ("i1", "%begins"), ("ptr", "%to"), ("i64", "%to_ld"),
)  # fmt: skip
COPY = (("ptr", "%x"), ("i64", "%ld"), ("ptr", "%to"), ("i64", "%row"), ("i64", "%rows"), ("i64", "%columns"))


def configure(f: Function) -> None:
    """All eight tile registers: 16 rows of 64 bytes."""
    palette = [1, *[0] * 15, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8]
    text = "".join(f"\\{byte:02X}" for byte in palette)
    f.module.globals["amx_tiles"] = f'@amx_tiles = private constant [64 x i8] c"{text}", align 64'
    _do(f, "ldtilecfg", ("ptr", "@amx_tiles"))


def release(f: Function) -> None:
    """The tile registers empty again, so that the system need not save them."""
    _do(f, "tilerelease")


def write_block(module: Module, parts: int) -> str:
    """The name of the function BLOCK_SUMS: sums[:rows, :columns] (+)= a @ b, up to multiples of 16; in the end to C."""
    name, copy = f"amx_block_{parts}", _write_copy(module)
    tiles = {(i, j): _write_tiles(module, parts, i, j) for i in (1, 2) for j in (1, 2)}
    f = Function(module, name, BLOCK_SUMS, exported=False)
    depth, size = f.div(f.add("%depth", DEPTH - 1), DEPTH), TILE * parts
    strip = f.mul(depth, size)
    passes = f.max(f.div(f.add(depth, DEEP[parts] - 1), DEEP[parts]), 1)
    deep = f.max(f.div(f.add(depth, f.sub(passes, 1)), passes), 1)
    stored = f.binary("and", "%ends", f.compare("ne", "%c", "null", "ptr"), "i1")

    def piece(t: Number, j: Number, i: Number) -> None:
        a = f.at("%a", f.add(f.mul(f.div(i, LINES), strip), f.mul(t, size)), "bfloat")
        b = f.at("%b", f.add(f.mul(f.div(j, LINES), strip), f.mul(t, size)), "bfloat")
        rows, columns = f.min(f.sub("%rows", i), 2 * LINES), f.min(f.sub("%columns", j), 2 * LINES)
        begins = f.binary("and", f.compare("eq", t, 0), "%begins", "i1")
        last = f.binary("and", f.compare("sge", f.add(t, deep), depth), stored, "i1")
        # Whole tiles go straight to C.
        even = f.compare("eq", f.add(f.rem(rows, LINES), f.rem(columns, LINES)), 0)
        sums, c = (f.at(x, f.add(f.mul(i, ld), j), "float") for x, ld in (("%sums", "%ld"), ("%c", "%c_row")))
        straight = f.binary("and", last, even, "i1")
        to, to_ld = f.choose(straight, c, sums, "ptr"), f.choose(straight, "%c_row", "%ld")
        values = (a, b, strip, f.min(f.sub(depth, t), deep), sums, "%ld", begins, to, to_ld)
        tall, wide = f.compare("sgt", rows, LINES), f.compare("sgt", columns, LINES)
        two, one = (f.choose(wide, f"@{tiles[n, 2]}", f"@{tiles[n, 1]}", "ptr") for n in (2, 1))
        f.call(f.choose(tall, two, one, "ptr"), given(TILES, values))
        with f.when(f.choose(even, "false", last, "i1")):
            f.call(copy, given(COPY, (sums, "%ld", c, "%c_row", rows, columns)))

    # A strip of the right factor stays in the first cache while those of the left one pass. At least one pass, so
    # that a product of depth 0 is zero.
    def strips(t: Number, j: Number) -> None:
        f.loop("%rows", lambda i: piece(t, j, i), step=2 * LINES)

    f.loop(f.max(depth, 1), lambda t: f.loop("%columns", lambda j: strips(t, j), step=2 * LINES), step=deep)
    f.finish()
    return name


def _write_tiles(module: Module, parts: int, tall: int, wide: int) -> str:
    """Sums of tall × wide tiles: tile registers 0 to 3 hold them, 4 and 5 the left factor, 6 and 7 the right one."""
    f = Function(module, f"amx_tiles_{parts}_{tall}x{wide}", TILES, exported=False)
    pairs = [(i, j) for i in range(tall) for j in range(wide)]
    with f.when("%begins"):
        for i, j in pairs:
            _do(f, "tilezero", _tile(2 * i + j))
    with f.when(f.binary("xor", "%begins", "true", "i1")):
        _each(f, "tileloadd64", pairs, "%sums", "%ld")

    def step(k: Number) -> None:
        at = f.mul(k, TILE * parts)
        left = [f.at("%a", f.add(f.mul("%strip", i), at), "bfloat") for i in range(tall)]
        right = [f.at("%b", f.add(f.mul("%strip", j), at), "bfloat") for j in range(wide)]
        # Parts to load anew before each product: high·low, high·high, low·high, so that loads are as few as can be.
        for of_left, of_right in ((0, 1), (None, 0), (1, None)) if parts == 2 else ((0, 0),):
            for first, places, part in ((4, left, of_left), (6, right, of_right)):
                for i, place in enumerate(places if part is not None else []):
                    _do(
                        f,
                        "tileloadd64",
                        _tile(first + i),
                        ("ptr", f.at(place, TILE * (part or 0), "bfloat")),
                        ("i64", 64),
                    )
            for i, j in pairs:
                _do(f, "tdpbf16ps", _tile(2 * i + j), _tile(4 + i), _tile(6 + j))

    f.loop("%steps", step)
    _each(f, "tilestored64", pairs, "%to", "%to_ld")
    f.finish()
    return f.name


def _each(f: Function, name: str, pairs: Sequence[tuple[int, int]], x: str, ld: str) -> None:
    """Loads or stores the tiles of sums at x, whose rows are ld apart."""
    row = f.mul(ld, 4)
    for i, j in pairs:
        place = f.at(f.at(x, f.mul(ld, 16 * i), "float"), 16 * j, "float")
        _do(f, name, _tile(2 * i + j), ("ptr", place), ("i64", row))


def _write_copy(module: Module) -> str:
    """The name of the function COPY: to[:rows, :columns] = x, with rows ld and row apart."""
    f = Function(module, "amx_copy", COPY, exported=False)
    whole = f.mul(f.div("%columns", 16), 16)
    mask = f.mask_below(f.sub("%columns", whole), 16)

    def line(r: Number) -> None:
        x, to = f.at("%x", f.mul(r, "%ld"), "float"), f.at("%to", f.mul(r, "%row"), "float")
        f.loop(whole, lambda c: f.store(F, f.load(F, x, c), to, c), step=16)
        with f.when(f.compare("slt", whole, "%columns")):
            f.store_masked(F, f.load(F, x, whole), f.at(to, whole, "float"), mask)

    f.loop("%rows", line)
    f.finish()
    return f.name


def _tile(register: int) -> tuple[str, int]:
    return "i8", register


def _do(f: Function, name: str, *arguments: tuple[str, Number]) -> None:
    f.intrinsic(f"x86.{name}", "void", arguments, overload="")
