"""Reads a model file (docs/model_file.md) with NumPy alone; predict(read(path), {"age": [39, None], …}) answers rows.

    python read_model.py model.safetensors table.csv
prints what is predicted of each row of the table.
"""

import csv
import json
import math
import sys

import numpy as np

DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U32": "<u4", "BOOL": "?"}
MISSING = ("", "?", "na", "n/a", "#na", "#n/a", "<na>", "nan", "-nan", "null")
WORDS = {"true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0, "on": 1, "off": 0}
OPS = {  # of a program; one that is not here is NumPy's function of that name
    "argsort": lambda x, axis: np.argsort(x, axis, kind="stable"),
    "astype": lambda x, dtype: x.astype(dtype),
    "concatenate": lambda *parts, axis: np.concatenate(parts, axis),
    "constant": lambda value, dtype: np.array(value, dtype),
    "erf": np.vectorize(math.erf, otypes=["f8"]),
    "reshape": lambda x, shape: x.reshape(shape),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "slice": lambda x, bounds: x[tuple(slice(*bound) for bound in bounds)],
    "take": lambda x, rows: x[rows],
    "take_along": np.take_along_axis,
}


def read(path):
    """What the file says of the model, as a dict, with its arrays by name under "arrays"."""
    with open(path, "rb") as file:
        header, data = json.loads(file.read(int.from_bytes(file.read(8), "little"))), file.read()
    about = json.loads(header.pop("__metadata__")["fallline"])
    arrays = {k: np.ndarray(a["shape"], DTYPES[a["dtype"]], data, a["data_offsets"][0]) for k, a in header.items()}
    return about | {"arrays": arrays}


def number(cell):
    """A number, true or false in words, or a date as days since 1970-01-01; NaN where it is missing."""
    text = str(cell).strip().lower()
    if text in (*MISSING, "none", "nil", "-", "--", ".", "*"):
        return math.nan
    if text[4:5] == "-" and text[7:8] == "-":
        return np.datetime64(text.upper().rstrip("Z").replace(" ", "T"), "us").astype("i8") / 86_400_000_000
    return float(WORDS.get(text, text))


def code(cell, levels):
    """0 for a category that training did not have, then the levels from 1 on, and after them a missing cell."""
    text = "" if cell is None else str(cell).strip()
    if text.lower() in MISSING:
        return len(levels) + 1
    if {level.lower() for level in levels} <= {"true", "false"}:
        text, levels = text.lower(), [level.lower() for level in levels]
    spellings = [text, f"{cell:.0f}" if isinstance(cell, float) and cell.is_integer() else text]
    return next((levels.index(spelling) + 1 for spelling in spellings if spelling in levels), 0)


@np.errstate(all="ignore")
def answer(model, table):
    """The outputs by name: "label" (codes of classes) with "probabilities" or "scores", or "variable" (n, k)."""
    n, values = len(next(iter(table.values()))), []
    if n > 64:  # so few rows at a time that what is computed of them stays in the cache
        parts = [answer(model, {name: table[name][i : i + 64] for name in table}) for i in range(0, n, 64)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    given = {name: np.asarray(table[name]) for name in table}
    for column in (model["columns"] or {"fitted": []})["fitted"]:
        cells, levels = table[column["name"]], column.get("levels")
        given[column["name"]] = np.array([number(c) if levels is None else code(c, levels) for c in cells])[:, None]

    def size(value):  # "3n+1" stands for 3 · n + 1
        if isinstance(value, str):
            times, _, plus = value.partition("n")
            return int(times or 1) * n + int(plus or 0)
        return tuple(map(size, value)) if isinstance(value, list) else value

    for op, args, attrs in model["program"]["nodes"]:
        if op in ("input", "weight"):
            source = given if op == "input" else model["arrays"]
            values.append(source[attrs["name"]].astype(attrs["dtype"]))
        else:
            known = {key: value if key in ("dtype", "value") else size(value) for key, value in attrs.items()}
            values.append(OPS.get(op, getattr(np, op, None))(*(values[i] for i in args), **known))
    return {name: values[i] for name, i in model["program"]["outputs"].items()}


def predict(model, table):
    """The class, or the number (or several), of each row; of labels 0 and 1."""
    found, classes = answer(model, table), np.array(model["target"].get("classes"))
    return classes[found["label"]] if "label" in found else found.get("variable", found.get("labels"))


if __name__ == "__main__" and len(sys.argv) < 3:
    print(__doc__)
elif __name__ == "__main__":
    with open(sys.argv[2], newline="", encoding="utf-8") as lines:
        columns = list(zip(*csv.reader(lines), strict=True))
    print(*predict(read(sys.argv[1]), {name: cells for name, *cells in columns}), sep="\n")
