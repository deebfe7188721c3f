"""Packaged data by name, offline: breast-cancer, wine, iris, digits, diabetes, simulated-heart.

The last is drawn from a formula; the others are scikit-learn's own files, without the second that importing
`sklearn.datasets` costs.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import DataError, UnknownNameError
from fallline.core.registry import nearest, plain_name
from fallline.data.simulated import simulated_heart

_NUCLEUS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
_BREAST_CANCER = (
    *(f"mean {n}" for n in _NUCLEUS),
    *(f"{n} error" for n in _NUCLEUS),
    *(f"worst {n}" for n in _NUCLEUS),
)
_WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
_IRIS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_DIGITS = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


@dataclass(frozen=True)
class Packaged:
    """A packaged data set: its columns, the target last.

    task   "classification" or "regression"
    notes  what a reader should know first, one sentence each
    """

    name: str
    columns: dict[str, Any]
    target: str
    task: str
    notes: tuple[str, ...] = ()


def dataset_names() -> tuple[str, ...]:
    return tuple(_SETS)


def is_dataset(name: str) -> bool:
    return plain_name(name) in _BY_PLAIN_NAME


def load_dataset(name: str) -> Packaged:
    """The packaged data set of that name, in any spelling; "did you mean" otherwise."""
    found = _BY_PLAIN_NAME.get(plain_name(name))
    if found is None:
        raise UnknownNameError(f"no packaged data set is called {name!r}: {nearest(name, _SETS)}")
    return _SETS[found](found)


def _classes(file: str, names: tuple[str, ...], target: str) -> Callable[[str], Packaged]:
    """A file whose first line holds the number of rows and columns, then the names of the classes."""

    def load(name: str) -> Packaged:
        first, _, rest = _read(file).partition("\n")
        labels = first.strip().split(",")[2:]
        table = _numbers(rest, ",")
        columns: dict[str, Any] = {n: table[:, i] for i, n in enumerate(names)}
        columns[target] = [labels[int(code)] for code in table[:, -1]]
        return Packaged(name, columns, target, "classification")

    return load


def _digits(name: str) -> Packaged:
    table = _numbers(_read("digits.csv.gz"), ",")
    columns: dict[str, Any] = {n: table[:, i] for i, n in enumerate(_DIGITS)}
    columns["digit"] = table[:, -1].astype(np.int64)
    return Packaged(name, columns, "digit", "classification")


def _diabetes(name: str) -> Packaged:
    """The measured values, not the scaled ones that scikit-learn gives by default."""
    table = _numbers(_read("diabetes_data_raw.csv.gz"), None)
    columns: dict[str, Any] = {n: table[:, i] for i, n in enumerate(_DIABETES)}
    columns["progression"] = _numbers(_read("diabetes_target.csv.gz"), None)[:, 0]
    return Packaged(name, columns, "progression", "regression")


def _heart(name: str) -> Packaged:
    notes = ("simulated patients, drawn from a formula: nothing medical follows from them",)
    return Packaged(name, simulated_heart(), "AHD", "classification", notes)


_SETS: dict[str, Callable[[str], Packaged]] = {
    "breast-cancer": _classes("breast_cancer.csv", _BREAST_CANCER, "diagnosis"),
    "wine": _classes("wine_data.csv", _WINE, "cultivar"),
    "iris": _classes("iris.csv", _IRIS, "species"),
    "digits": _digits,
    "diabetes": _diabetes,
    "simulated-heart": _heart,
}
_BY_PLAIN_NAME = {plain_name(name): name for name in _SETS}


def _read(file: str) -> str:
    found = importlib.util.find_spec("sklearn")
    folders = found.submodule_search_locations if found is not None else None
    if not folders:
        raise DataError(
            "the packaged data sets are scikit-learn's files: install scikit-learn, or give a file of your own"
        )
    path = Path(folders[0]) / "datasets" / "data" / file
    if not path.is_file():
        raise DataError(
            f"this scikit-learn does not hold {file}: install scikit-learn 1.5 or later, or give a file of your own"
        )
    data = path.read_bytes()
    return (gzip.decompress(data) if file.endswith(".gz") else data).decode("utf-8")


def _numbers(text: str, delimiter: str | None) -> np.ndarray:
    """(rows, columns) float64; delimiter None means blanks."""
    return np.array([line.split(delimiter) for line in text.splitlines() if line], dtype=np.float64)
