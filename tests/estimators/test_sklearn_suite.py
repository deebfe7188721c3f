"""scikit-learn's own tests of its perceptrons, as they stand in the installed package, run against ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn

FILE = Path(sklearn.__file__).parent / "neural_network" / "tests" / "test_mlp.py"
PRIVATE = {  # the only tests that are left out: what they look at is no part of the estimators that users see
    "test_gradient": "calls MLPClassifier._loss_grad_lbfgs with scikit-learn's own lists of activations and deltas",
}
SEED = """
import pytest

@pytest.fixture
def global_random_seed():
    return 42
"""


@pytest.mark.slow
@pytest.mark.skipif(not FILE.exists(), reason="this scikit-learn comes without its tests")
def test_the_tests_of_scikit_learn_pass(tmp_path):
    text, changed = re.subn(
        r"^from sklearn\.neural_network import (MLPClassifier, MLPRegressor)$", r"from fallline import \1",
        FILE.read_text(), flags=re.M,
    )  # fmt: skip
    assert changed == 1
    assert all(f"def {name}(" in text for name in PRIVATE)
    (tmp_path / "test_mlp.py").write_text(text)
    (tmp_path / "conftest.py").write_text(SEED)
    left_out = [f"--deselect=test_mlp.py::{name}" for name in PRIVATE]
    asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *left_out]
    ran = subprocess.run([*asked, "test_mlp.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout[-5000:]
    found = re.search(r"(\d+) passed, (\d+) deselected", ran.stdout)
    assert found, ran.stdout[-500:]
    assert int(found[1]) >= 50
    assert int(found[2]) == len(PRIVATE)
