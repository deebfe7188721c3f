"""Estimators of tables with their default settings, each behind one call: rows to learn from, rows to answer for."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from benchmarks.table_sets import TableSet

Answer = Callable[[TableSet], np.ndarray]  # probabilities (n, k), or numbers (n,) or (n, k)
Maker = Callable[[TableSet, int], Answer]


@dataclass(frozen=True)
class OnTables:
    """A way to learn from a table.   package: that must be installed;  make: (rows, threads) -> answers"""

    name: str
    package: str
    make: Maker
    note: str

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


class _Dense:
    """Numbers imputed (median, and whether they were missing) and scaled, text one-hot."""

    def __init__(self, train: TableSet):
        self.scale = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        self.hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        self.numbers, self.texts = train.numbers.shape[1] > 0, train.texts.shape[1] > 0
        if self.numbers:
            self.scale.fit(train.numbers)
        if self.texts:
            self.hot.fit(train.texts)

    def __call__(self, rows: TableSet) -> np.ndarray:
        parts = [self.scale.transform(rows.numbers)] if self.numbers else []
        return np.hstack([*parts, *([self.hot.transform(rows.texts)] if self.texts else [])])


class _Coded:
    """Numbers as they are, text as codes after them."""

    def __init__(self, train: TableSet):
        self.encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        self.encoder.fit(train.texts) if train.texts.shape[1] else None
        d, k = train.numbers.shape[1], train.texts.shape[1]
        self.categories = list(range(d, d + k))

    def __call__(self, rows: TableSet) -> np.ndarray:
        codes = [self.encoder.transform(rows.texts)] if self.categories else []
        return np.hstack([rows.numbers, *codes])


def _fitted(model: Any, read: Any, train: TableSet) -> Answer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(read(train), train.y)

    def answer(rows: TableSet) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(model.predict_proba(read(rows)) if train.classes else model.predict(read(rows)))

    return answer


def _each_output(model: Any, train: TableSet) -> Any:
    """The regressor, one for each output where there are several and it takes one."""
    return MultiOutputRegressor(model) if train.y.ndim == 2 else model


def _linear(train: TableSet, threads: int) -> Answer:
    """Logistic or ridge regression, its strength from cross-validation."""
    if train.classes:
        folds = int(np.clip(np.bincount(train.y).min(), 2, 5))
        few = len(train.y) > 10_000
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: Any = LogisticRegressionCV(
                Cs=5 if few else 10, cv=folds, scoring="neg_log_loss", max_iter=200,
                use_legacy_attributes=False, l1_ratios=(0.0,),
            )  # fmt: skip
    else:
        model = RidgeCV(alphas=np.logspace(-3, 3, 13))
    return _fitted(model, _Dense(train), train)


def _sklearn_mlp(train: TableSet, threads: int) -> Answer:
    model: Any = MLPClassifier(random_state=0)
    if not train.classes:
        model = TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler())
    return _fitted(model, _Dense(train), train)


def _hist(train: TableSet, threads: int) -> Answer:
    read = _Coded(train)
    made = HistGradientBoostingClassifier if train.classes else HistGradientBoostingRegressor
    model = made(random_state=0, categorical_features=read.categories or None)
    return _fitted(model if train.classes else _each_output(model, train), read, train)


def _lightgbm(train: TableSet, threads: int) -> Answer:
    lightgbm = importlib.import_module("lightgbm")

    read = _Coded(train)
    made = lightgbm.LGBMClassifier if train.classes else lightgbm.LGBMRegressor
    chosen = {"categorical_feature": read.categories} if read.categories else {}
    model = made(verbose=-1, n_jobs=threads, random_state=0, **chosen)
    return _fitted(model if train.classes else _each_output(model, train), read, train)


def _catboost(train: TableSet, threads: int) -> Answer:
    catboost = importlib.import_module("catboost")

    texts = [c for c, text in zip(train.frame.columns, train.is_text, strict=True) if text]

    def read(given: TableSet) -> Any:
        frame = given.frame.to_pandas()
        for name in texts:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "missing")
        return frame

    made = catboost.CatBoostClassifier if train.classes else catboost.CatBoostRegressor
    several = {"loss_function": "MultiRMSE"} if train.y.ndim == 2 else {}
    model = made(verbose=False, thread_count=threads, random_seed=0, cat_features=texts,
                 allow_writing_files=False, **several)  # fmt: skip
    return _fitted(model, read, train)


def _of_pytabkit(name: str) -> Maker:
    def make(train: TableSet, threads: int) -> Answer:
        logging.disable(logging.WARNING)
        pytabkit = importlib.import_module("pytabkit")

        made = getattr(pytabkit, f"{name}_{'Classifier' if train.classes else 'Regressor'}")
        model = made(device="cpu", random_state=0, n_threads=threads)

        middle = np.nanmedian(train.numbers, axis=0)

        def read(given: TableSet) -> Any:
            frame = given.frame.to_pandas()
            for name, text in zip(frame.columns, given.is_text, strict=True):
                if text:
                    frame[name] = frame[name].astype(object).where(frame[name].notna(), "missing").astype("category")
            numbers = [name for name, text in zip(frame.columns, given.is_text, strict=True) if not text]
            return frame.fillna(dict(zip(numbers, middle, strict=True)))

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            here = os.getcwd()
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                try:
                    return _fitted(model, read, train)
                finally:
                    os.chdir(here)

    return make


def _ours(train: TableSet, threads: int) -> Answer:
    import fallline as fl

    made = fl.TabularClassifier if train.classes else fl.TabularRegressor
    return _fitted(made(n_jobs=threads), lambda rows: rows.frame, train)


OURS = "fallline"
CONTESTANTS = {
    c.name: c
    for c in (
        OnTables(OURS, "fallline", _ours, "TabularClassifier, TabularRegressor"),
        OnTables("linear", "sklearn", _linear, "LogisticRegressionCV, RidgeCV"),
        OnTables("sklearn MLP", "sklearn", _sklearn_mlp, "inputs and numeric target scaled"),
        OnTables("HistGB", "sklearn", _hist, "HistGradientBoosting"),
        OnTables("LightGBM", "lightgbm", _lightgbm, ""),
        OnTables("CatBoost", "catboost", _catboost, ""),
        OnTables("RealMLP-TD", "pytabkit", _of_pytabkit("RealMLP_TD"), ""),
        OnTables("TabM", "pytabkit", _of_pytabkit("TabM_D"), ""),
    )
}


def choose(asked: list[str] | None) -> tuple[list[OnTables], list[str]]:
    """(contestants to run, "name: why not" of the others)."""
    unknown = [name for name in asked or () if name not in CONTESTANTS]
    if unknown:
        raise SystemExit(f"unknown contestant {', '.join(unknown)}; known are {', '.join(CONTESTANTS)}")
    wanted = [CONTESTANTS[name] for name in asked or CONTESTANTS]
    return [c for c in wanted if c.is_installed], [f"{c.name}: {c.package} is not installed" for c in wanted
                                                   if not c.is_installed]  # fmt: skip
