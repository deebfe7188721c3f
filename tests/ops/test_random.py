"""Random numbers: the bits against Python integers, their statistics, and the same bits in every way of running."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.spec import spec
from fallline.graph.program import Program
from fallline.ops import random
from tests.tolerance import TOL

MASK = 0xFFFFFFFF
KEY = random.new_key(0)


def triple32(x: int) -> int:
    """The hash as published, in Python's integers."""
    for shift, factor in ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB)):
        x ^= x >> shift
        x = (x * factor) & MASK
    return x ^ (x >> 14)


def unmix(x: int) -> int:
    """The inverse of the hash: it loses nothing."""

    def unshift(y: int, shift: int) -> int:
        x = y
        for _ in range(32 // shift):
            x = y ^ (x >> shift)
        return x

    x = unshift(x, 14)
    for shift, factor in ((15, 0x31848BAB), (11, 0xAC4C1B51), (17, 0xED5AD4BB)):
        x = unshift((x * pow(factor, -1, 1 << 32)) & MASK, shift)
    return x


def folded(key: tuple[int, int], number: int) -> tuple[int, int]:
    word = triple32((number * 0x9E3779B9 + key[0]) & MASK)
    other = triple32(word ^ key[1])
    return word ^ key[1], (other + key[0]) & MASK


@given(st.integers(0, MASK))
def test_mix_is_the_published_hash_and_a_bijection(word: int) -> None:
    found = int(random.mix(np.array([word], np.uint32))[0])
    assert found == triple32(word)
    assert unmix(found) == word


@given(st.tuples(st.integers(0, MASK), st.integers(0, MASK)), st.integers(0, 1000))
def test_bits_are_those_of_the_formula(key: tuple[int, int], site: int) -> None:
    k0, k1 = folded(key, site)
    expected = [triple32(triple32((i + k0) & MASK) ^ k1) for i in range(6)]
    array = np.array(key, np.uint32)
    assert random.random_bits(array, (2, 3), site).ravel().tolist() == expected
    assert random.uniform(array, (6,), site, "float64").tolist() == [(w >> 8) / 2**24 for w in expected]
    assert random.fold_in(array, site).tolist() == [k0, k1]


def test_the_keys_of_many_steps_are_those_of_each() -> None:
    numbers = np.array([0, 1, 2, 2**31, 2**32 - 1])
    np.testing.assert_array_equal(random.step_keys(KEY, numbers), [random.fold_in(KEY, int(n)) for n in numbers])


def test_avalanche() -> None:
    """Each flipped input bit flips every output bit half of the time."""
    words = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    bits = np.arange(32, dtype=np.uint32)
    for k in bits:
        changed = random.mix(words) ^ random.mix(words ^ (np.uint32(1) << k))
        flips = (changed[:, None] >> bits) & 1  # (words, 32)
        assert abs(flips.sum(axis=1).mean() - 16) < 16 * TOL["statistics"]
        assert np.abs(flips.mean(axis=0) - 0.5).max() < TOL["statistics"]


@pytest.mark.parametrize("site", [0, 1, 17])
def test_uniform_numbers_are_uniform_and_independent(site: int) -> None:
    n = 2**16
    u = random.uniform(KEY, (n,), site, "float64")
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert scipy.stats.chisquare(np.bincount((u * 256).astype(int), minlength=256)).pvalue > TOL["p_value"]
    pairs = np.bincount((u[::2] * 16).astype(int) * 16 + (u[1::2] * 16).astype(int), minlength=256)
    assert scipy.stats.chisquare(pairs).pvalue > TOL["p_value"]
    for other in (
        random.uniform(KEY, (n,), site + 1, "float64"),
        random.uniform(random.new_key(1), (n,), site, "float64"),
    ):
        assert abs(np.corrcoef(u, other)[0, 1]) < TOL["statistics"]
        joint = np.bincount((u * 16).astype(int) * 16 + (other * 16).astype(int), minlength=256)
        assert scipy.stats.chisquare(joint).pvalue > TOL["p_value"]


def test_neighbouring_keys_steps_and_sites_share_nothing() -> None:
    draws = [
        random.random_bits(random.fold_in(random.new_key(s), t), (64,), k)
        for s in range(4)
        for t in range(4)
        for k in range(4)
    ]
    assert (
        len(np.unique(np.concatenate(draws))) > 64 * 64 - 8
    )  # 4096 of 2^32 words: about two pairs in a thousand tries


def test_normal_numbers() -> None:
    x = random.normal(KEY, (2**15,), dtype="float64")
    assert scipy.stats.kstest(x, "norm").pvalue > TOL["p_value"]
    u = random.uniform(KEY, (2**15,), 0, "float64")
    for site in range(4):  # the two draws of a normal are not those of any uniform site
        assert abs(np.corrcoef(np.abs(x), random.uniform(KEY, (2**15,), site, "float64"))[0, 1]) < TOL["statistics"]
    assert np.isfinite(x).all()
    assert u.shape == x.shape


def test_bernoulli() -> None:
    for rate in (0.0, 0.2, 1.0):
        hits = random.bernoulli(KEY, rate, (2**16,))
        assert hits.dtype == np.bool_
        assert abs(hits.mean() - rate) < TOL["statistics"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (0,)])
def test_the_same_bits_in_a_program(shape: tuple[int, ...], dtype: str) -> None:
    eager = random.uniform(KEY, shape, 3, dtype)
    program = Program.of(lambda key: random.uniform(key, shape, 3, dtype), KEY)
    np.testing.assert_array_equal(program.run(KEY)[0], eager)
    assert eager.dtype == np.dtype(dtype)
    assert np.shape(eager) == shape
    normal = Program.of(lambda key: random.normal(key, shape, 3, dtype), KEY)
    np.testing.assert_array_equal(normal.run(KEY)[0], random.normal(KEY, shape, 3, dtype))


def test_float32_and_float64_agree() -> None:
    np.testing.assert_array_equal(random.uniform(KEY, (99,)), random.uniform(KEY, (99,), dtype="float64"))


@pytest.mark.parametrize("number", [0, 7, 2**31, 2**32 - 1])
def test_folding_numbers_of_any_kind(number: int) -> None:
    expected = random.fold_in(KEY, number)
    for same in (np.uint32(number), np.int64(number), np.array(number, np.uint32), np.array([number], np.int64)):
        np.testing.assert_array_equal(random.fold_in(KEY, same), expected)
    for dtype in ("uint32", "int64"):
        program = Program.of(random.fold_in, KEY, spec((), dtype))
        np.testing.assert_array_equal(program.run(KEY, np.array(number, dtype))[0], expected)


def test_keys_come_from_seeds() -> None:
    assert (random.new_key(3) == random.new_key(3)).all()
    assert len({tuple(random.new_key(s).tolist()) for s in range(100)}) == 100
    assert random.new_key(0).dtype == np.uint32
