"""Packaged data against scikit-learn's loaders, and the simulated table against its description."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fallline.core.errors import UnknownNameError
from fallline.data.datasets import dataset_names, is_dataset, load_dataset
from fallline.data.simulated import simulated_heart
from fallline.data.table import read_table

LOADERS = {
    "breast-cancer": sklearn.datasets.load_breast_cancer,
    "wine": sklearn.datasets.load_wine,
    "iris": sklearn.datasets.load_iris,
    "digits": sklearn.datasets.load_digits,
    "diabetes": lambda: sklearn.datasets.load_diabetes(scaled=False),
}


@pytest.mark.parametrize("name", LOADERS)
def test_same_cells_names_and_targets(name):
    table, bunch = read_table(name), LOADERS[name]()
    features = table.names[:-1]
    assert list(features) == list(bunch.feature_names)
    np.testing.assert_array_equal(table.frame.select(features).to_numpy(), bunch.data)
    expected = bunch.target if name in ("digits", "diabetes") else bunch.target_names[bunch.target]
    assert table.column(table.target).to_list() == expected.tolist()
    assert table.target == table.names[-1]
    assert table.task == ("regression" if name == "diabetes" else "classification")


def test_every_set_is_compared():
    assert set(dataset_names()) == {*LOADERS, "simulated-heart"}


def test_names_in_any_spelling():
    assert is_dataset("Breast_Cancer")
    assert not is_dataset("heart.csv")
    with pytest.raises(UnknownNameError, match="did you mean 'wine'"):
        load_dataset("vine")


def test_simulated_heart_has_the_columns_kinds_and_gaps_of_an_examination():
    table = read_table("simulated-heart")
    names = "Age Sex ChestPain RestBP Chol Fbs RestECG MaxHR ExAng Oldpeak Slope Ca Thal AHD"
    assert (table.n_rows, table.names) == (303, tuple(names.split()))
    assert (table.target, table.task) == ("AHD", "classification")
    assert "simulated patients" in table.notes[0]
    gaps = {name: table.column(name).null_count() for name in table.names}
    assert {name: n for name, n in gaps.items() if n} == {"Ca": 4, "Thal": 2}
    levels = {name: table.column(name).drop_nulls().n_unique() for name in ("ChestPain", "Thal", "AHD", "Sex", "Ca")}
    assert levels == {"ChestPain": 4, "Thal": 3, "AHD": 2, "Sex": 2, "Ca": 4}


def test_simulated_heart_is_the_same_in_every_process():
    code = "from fallline.data.simulated import simulated_heart; print(simulated_heart())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == simulated_heart()


def test_simulated_heart_is_predicted_by_a_logistic_model_about_as_well_as_real_patients():
    """Five-fold AUC of scikit-learn's model near 0.9, and effects in the directions that the formula states."""
    frame = read_table("simulated-heart").frame.drop_nulls()
    X = frame.drop("AHD").to_dummies(["ChestPain", "Thal"])
    y = (frame["AHD"] == "Yes").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression())
    assert 0.86 < cross_val_score(model, X.to_numpy(), y, cv=5, scoring="roc_auc").mean() < 0.94
    effects = dict(zip(X.columns, model.fit(X.to_numpy(), y)[-1].coef_[0], strict=True))
    assert min(effects[name] for name in ("Sex", "ChestPain_asymptomatic", "Oldpeak", "Ca", "Thal_reversible")) > 0.2
    assert effects["MaxHR"] < -0.2


def test_scikit_learn_is_not_imported():
    code = "import sys, fallline.data.datasets as d; d.load_dataset('iris'); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
