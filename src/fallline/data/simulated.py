"""Simulated tables: rows drawn from a formula by a fixed seed, for lessons and trials without a file."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS = 303
SEED = 5
PAIN = ("asymptomatic", "nonanginal", "nontypical", "typical")
THAL = ("normal", "fixed", "reversible")
MISSING = {"Ca": 4, "Thal": 2}  # cells


def simulated_heart() -> dict[str, list[Any]]:
    """Simulated patients, not real ones: thirteen findings of a heart examination and a diagnosis.

    P(AHD = Yes) = σ(score), and the score is a sum with a term for each column but Fbs. Ranges and directions are
    plausible; nothing is copied or estimated from a study, so nothing medical follows from the table.

    Age years, RestBP mmHg, Chol mg/dl, MaxHR beats a minute, Oldpeak mm (ST depression), Ca vessels (0 to 3);
    Sex 1 = male; Fbs, ExAng 1 = yes; RestECG, Slope codes
    returns  303 rows by column, AHD last; None = missing (four cells of Ca, two of Thal)
    """
    rng = np.random.default_rng(SEED)
    columns = _findings(rng)
    columns["AHD"] = np.where(rng.random(ROWS) < 1.0 / (1.0 + np.exp(-_score(columns))), "Yes", "No")
    found: dict[str, list[Any]] = {name: column.tolist() for name, column in columns.items()}
    for name, count in MISSING.items():
        for row in rng.choice(ROWS, count, replace=False):
            found[name][row] = None
    return found


def _findings(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The thirteen columns that are seen, each (303,)."""
    age = rng.normal(55.0, 9.0, ROWS).round().clip(30, 78)
    angina = rng.random(ROWS) < 0.3
    oldpeak = rng.normal(0.6 + 0.8 * angina, 1.1, ROWS).round(1).clip(0.0)
    pulse = rng.normal(208.0 - 0.95 * age - 10.0 * angina, 18.0, ROWS)
    steep = oldpeak + rng.normal(0.0, 0.8, ROWS)
    whole = {
        "Age": age,
        "Sex": rng.random(ROWS) < 0.65,
        "RestBP": rng.normal(105.0 + 0.5 * age, 16.0, ROWS).round().clip(92, 200),
        "Chol": np.exp(rng.normal(np.log(240.0), 0.2, ROWS)).round(),
        "Fbs": rng.random(ROWS) < 0.15,
        "RestECG": rng.choice(3, ROWS, p=(0.5, 0.05, 0.45)),
        "MaxHR": pulse.round().clip(80, 205),
        "ExAng": angina,
        "Slope": 1 + (steep > 0.6) + (steep > 2.6),
        "Ca": rng.poisson(0.02 * np.maximum(age - 25.0, 5.0)).clip(0, 3),
    }
    found = {name: column.astype(np.int64) for name, column in whole.items()}
    found["ChestPain"] = rng.choice(PAIN, ROWS, p=(0.45, 0.27, 0.19, 0.09))
    found["Oldpeak"] = oldpeak
    found["Thal"] = rng.choice(THAL, ROWS, p=(0.56, 0.08, 0.36))
    order = "Age Sex ChestPain RestBP Chol Fbs RestECG MaxHR ExAng Oldpeak Slope Ca Thal"
    return {name: found[name] for name in order.split()}


def _score(c: dict[str, np.ndarray]) -> np.ndarray:
    """The logarithm of the odds P(Yes) / P(No), (303,)."""
    return (
        -4.6
        + 0.03 * (c["Age"] - 55)
        + 1.3 * c["Sex"]
        + 2.4 * (c["ChestPain"] == "asymptomatic")
        + 0.02 * (c["RestBP"] - 130)
        + 0.007 * (c["Chol"] - 240)
        + 0.2 * c["RestECG"]
        - 0.045 * (c["MaxHR"] - 150)
        + 1.0 * c["ExAng"]
        + 0.8 * c["Oldpeak"]
        + 0.6 * (c["Slope"] == 2)
        + 1.3 * c["Ca"]
        + 1.8 * (c["Thal"] == "reversible")
        + 0.8 * (c["Thal"] == "fixed")
    )
