"""Register tiles of a matrix product: a few rows of A times two vectors of columns of B, kept in registers over k.

Measured on an AVX-512 Xeon whose peak is 231 GF/s in f32 (operands in L1, K = 256): 14 rows × 32 columns 229, 11 × 32
226, 8 × 32 220; one vector wide, 14 × 16, 185. AVX2 code on it (peak 121): 6 × 16 120, 4 × 24 120. Unrolling k by two
or four is no faster. Rows are addressed from one pointer for each group of four: from one pointer for all, the code
generator makes a chain of additions, and tiles one vector wide drop to 125. Asking for the
lines of C beforehand costs 1 to 3 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from fallline.engines.llvm.emitter import Function, Module, vector
from fallline.engines.llvm.target import Target

GROUP = 4  # rows that are addressed from one pointer

PARAMETERS = (
    ("ptr", "%A"), ("i64", "%a_row"), ("i64", "%a_col"), ("i64", "%a_4"), ("i64", "%a_8"), ("i64", "%a_12"),
    ("i64", "%a_step"), ("i64", "%count"), ("ptr", "%B"), ("i64", "%b_row"), ("i64", "%K"),
    ("ptr", "%C"), ("i64", "%c_row"), ("i1", "%resume"),
)  # fmt: skip


@dataclass(frozen=True)
class Tiling:
    """How products of one element type are cut into registers.   element: "float" or "double" """

    target: Target
    element: str

    @property
    def name(self) -> str:
        return "gemm_f32" if self.element == "float" else "gemm_f64"

    @property
    def itemsize(self) -> int:
        return 4 if self.element == "float" else 8

    @property
    def lanes(self) -> int:
        return self.target.lanes(self.itemsize)

    @property
    def kind(self) -> str:
        """The type of one vector register."""
        return vector(self.element, self.lanes)

    @property
    def panel(self) -> int:
        """Columns of a tile: two vectors."""
        return 2 * self.lanes

    @property
    def tall(self) -> int:
        """Rows of the tallest tile: two accumulators each; two registers hold B, one or two A and a product."""
        return (self.target.registers - 4) // 2


def write_tiles(module: Module, t: Tiling) -> None:
    """The tiles of every height, one and two vectors wide, and the table of their addresses.

    Tile (rows, vectors) is entry (2 - vectors)·tall + rows - 1 of the table @<name>_tiles.
    """
    names = [_write_tile(module, t, rows, vectors) for vectors in (2, 1) for rows in range(1, t.tall + 1)]
    table = ", ".join(f"ptr @{name}" for name in names)
    module.globals[f"{t.name}_tiles"] = f"@{t.name}_tiles = internal constant [{len(names)} x ptr] [{table}]"


def _write_tile(module: Module, t: Tiling, rows: int, vectors: int) -> str:
    """`count` tiles one above the other: C[rows, panel] = A[rows] @ B[:, panel], or += with %resume.

    From tile to tile A moves on by a_step and C by `rows` rows; the panel is vectors·lanes columns wide. a_4, a_8, a_12
    are multiples of a_row: as parameters the optimizer cannot see that, and so keeps the pointers apart.
    """
    name = f"{t.name}_tile_{rows}_{vectors}"
    f = Function(module, name, PARAMETERS, exported=False)

    def one(i: str) -> None:
        A = f.at("%A", f.mul(i, "%a_step"), t.element)
        C = f.at("%C", f.mul(f.mul(i, rows), "%c_row"), t.element)
        places = [f.at(C, f.mul(r, "%c_row"), t.element) for r in range(rows)]
        sums = _first_sums(f, t, places, vectors)
        sums = _accumulate(f, t, rows, vectors, A, sums)
        for r, place in enumerate(places):
            for v in range(vectors):
                f.store(t.kind, sums[r * vectors + v], place, v * t.lanes)

    f.loop("%count", one)
    f.finish()
    return name


def _first_sums(f: Function, t: Tiling, places: list[str], vectors: int) -> list[str]:
    """What the accumulators start from: zero, or what C holds."""
    count = len(places) * vectors
    return f.either(
        "%resume",
        lambda: [f.load(t.kind, place, v * t.lanes) for place in places for v in range(vectors)],
        lambda: ["zeroinitializer"] * count,
        [t.kind] * count,
    )


def _accumulate(f: Function, t: Tiling, rows: int, vectors: int, A: str, sums: list[str]) -> list[str]:
    """sums + A[:rows, :K] @ B[:K], k after k."""
    starts = [f.at(A, offset, t.element) for offset in (0, "%a_4", "%a_8", "%a_12")[: -(-rows // GROUP)]]

    def step(k: str, b: str, *carried: str) -> list[str]:
        pointers, acc = list(carried[: len(starts)]), list(carried[len(starts) :])
        columns = [f.load(t.kind, b, v * t.lanes) for v in range(vectors)]
        for r in range(rows):
            place = f.at(pointers[r // GROUP], f.mul(r % GROUP, "%a_row"), t.element)
            a = f.splat(f.load(t.element, place), t.element, t.lanes)
            for v in range(vectors):
                acc[r * vectors + v] = f.fma(a, columns[v], acc[r * vectors + v], t.kind)
        following = [f.at(pointer, "%a_col", t.element) for pointer in pointers]
        return [f.at(b, "%b_row", t.element), *following, *acc]

    carried = [("ptr", "%B"), *(("ptr", start) for start in starts), *((t.kind, x) for x in sums)]
    return f.loop("%K", step, carried=carried)[1 + len(starts) :]
