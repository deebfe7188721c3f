"""Packaged data against scikit-learn's loaders."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

from fallline.core.errors import UnknownNameError
from fallline.data.datasets import dataset_names, is_dataset, load_dataset
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
    assert set(dataset_names()) == set(LOADERS)


def test_names_in_any_spelling():
    assert is_dataset("Breast_Cancer")
    assert not is_dataset("heart.csv")
    with pytest.raises(UnknownNameError, match="did you mean 'wine'"):
        load_dataset("vine")


def test_scikit_learn_is_not_imported():
    code = "import sys, fallline.data.datasets as d; d.load_dataset('iris'); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
