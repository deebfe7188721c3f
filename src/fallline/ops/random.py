"""Random numbers without hidden state: a hash of (key, site, index) made of integer ops, the same bits on every engine.

    bits(key, site, index) = mix(mix(index + k0) ^ k1),   (k0, k1) = key folded with the site

`mix` is a bijection of 32-bit words whose bias is close to that of a random one.
source  Wellons 2018, "Prospecting for hash functions" (triple32)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.ops.shape import concatenate
from fallline.ops.transcendental import cos, log, sqrt

_GOLDEN = np.uint32(0x9E3779B9)  # 2^32 / golden ratio: spreads small neighbouring numbers


def _word(x: Any) -> Any:
    """A 32-bit word as an array of one entry: NumPy warns when single numbers wrap around, and not when arrays do."""
    if not hasattr(x, "dtype"):
        x = np.asarray(int(x) & 0xFFFFFFFF, dtype=np.uint32)
    return x.reshape(1).astype("uint32")


def mix(x: Any) -> Any:
    """A 32-bit word with its bits well mixed; a bijection.   x uint32, at least one axis -> uint32, same shape"""
    x = x ^ (x >> np.uint32(17))
    x = x * np.uint32(0xED5AD4BB)
    x = x ^ (x >> np.uint32(11))
    x = x * np.uint32(0xAC4C1B51)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x31848BAB)
    return x ^ (x >> np.uint32(14))


def new_key(seed: int) -> np.ndarray:
    """The random key of a seed: uint32, shape (2,)."""
    words = np.random.SeedSequence(int(seed)).generate_state(2)
    return words.astype(np.uint32)


def fold_in(key: Any, number: Any) -> Any:
    """A new key from a key and a number (step, layer, epoch).   key uint32 (2,), number an integer -> uint32 (2,)"""
    return concatenate(_folded(key, _word(number)))


def step_keys(key: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """`fold_in` for many numbers at once.   key uint32 (2,), numbers (n,) -> uint32 (n, 2)"""
    return np.stack(_folded(key, numbers.astype(np.uint32)), axis=1)


def _folded(key: Any, words: Any) -> tuple[Any, Any]:
    """Both halves of the keys that follow from a key and 32-bit words (n,)."""
    first = mix(words * _GOLDEN + key[0:1]) ^ key[1:2]
    return first, mix(first) + key[0:1]


def random_bits(key: Any, shape: tuple[int, ...], site: int = 0) -> Any:
    """Random 32-bit words.   key uint32 (2,), site: a different number for each use of one key -> uint32 `shape`"""
    folded = fold_in(key, site)
    index = np.arange(math.prod(shape), dtype=np.uint32)
    return mix(mix(index + folded[0:1]) ^ folded[1:2]).reshape(shape)


def uniform(key: Any, shape: tuple[int, ...], site: int = 0, dtype: Any = "float32") -> Any:
    """Uniform numbers in [0, 1): the upper 24 bits of a word, so float32 and float64 agree."""
    return (random_bits(key, shape, site) >> np.uint32(8)).astype(dtype) * 2.0**-24


def bernoulli(key: Any, rate: Any, shape: tuple[int, ...], site: int = 0, dtype: Any = "float32") -> Any:
    """True with probability `rate`."""
    return uniform(key, shape, site, dtype) < rate


def normal(key: Any, shape: tuple[int, ...], site: int = 0, dtype: Any = "float32") -> Any:
    """Standard normal numbers.   source: Box & Muller 1958"""
    own = fold_in(key, site)  # its two draws must not meet those of other sites
    radius, angle = uniform(own, shape, 0, dtype), uniform(own, shape, 1, dtype)
    return sqrt(-2.0 * log(1.0 - radius)) * cos(2.0 * math.pi * angle)


__all__ = ["bernoulli", "fold_in", "mix", "new_key", "normal", "random_bits", "step_keys", "uniform"]
