"""Specs, settings and errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fallline.core import errors
from fallline.core.errors import DtypeError, FalllineError
from fallline.core.settings import settings
from fallline.core.spec import DTYPES, Spec, as_dtype, spec


def test_a_spec_of_arrays_numbers_and_specs() -> None:
    found = Spec.of(np.zeros((2, 3), np.float32))
    assert found == spec((2, 3)) == Spec.of(found)
    assert (found.ndim, found.size, found.nbytes, found.is_float) == (2, 6, 24, True)
    assert Spec.of(1.5) == spec((), "float64")
    assert Spec.of([1, 2]).dtype == np.int64
    assert spec(3, bool) == Spec((3,), np.dtype(bool))
    assert not spec(3, "int32").is_float
    assert spec((0, 2)).size == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_text(dtype: np.dtype) -> None:
    assert str(Spec((2, 3), dtype)) == f"{DTYPES[dtype]}[2,3]"
    assert str(Spec((), dtype)) == f"{DTYPES[dtype]}[]"


def test_float64_is_not_none() -> None:
    """NumPy holds float64 == None to be true: a spec must not be compared that way."""
    assert spec(2, "float64") != None  # noqa: E711
    assert spec(2, "float64") != spec(2)
    assert spec(2).with_dtype("float64").with_shape((4,)) == spec(4, "float64")


@pytest.mark.parametrize("dtype", ["float16", "complex128", "int8", "U3", object, ">f4"])
def test_dtypes_that_programs_cannot_hold(dtype: object) -> None:
    with pytest.raises(DtypeError, match="cannot be used in a program: use one of float32, float64"):
        as_dtype(dtype)


def test_every_error_can_be_caught_as_one() -> None:
    named = [e for e in vars(errors).values() if isinstance(e, type)]
    assert len(named) > 5
    assert all(issubclass(e, FalllineError) for e in named)
    assert all(
        issubclass(e, (ValueError, TypeError, LookupError, ArithmeticError)) for e in named if e is not FalllineError
    )


def test_tests_verify_their_programs() -> None:
    assert settings.verify


@pytest.mark.parametrize("value, verify", [("", False), ("0", False), ("1", True)])
def test_settings_come_from_the_environment(value: str, verify: bool) -> None:
    code = "from fallline.core.settings import settings as s; print(s.engine, s.verify)"
    env = {"FALLLINE_VERIFY": value, "FALLLINE_ENGINE": "numpy", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["numpy", str(verify)]
