"""Randomness as hashed keys: pure integer functions of (key, position), the same in Numba, NumPy and on any device.

Nothing here holds a state and nothing touches a global generator. `fold_in` derives a 64-bit key from integers,
`hash64` gives the draw of a position under a key. The generator is SplitMix64 read at random access (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) with the finaliser constants of Stafford's
variant 13.

This module imports neither torch nor a backend.
"""

import numba
import numpy as np

MASK = 0xFFFF_FFFF_FFFF_FFFF
GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
M1 = np.uint64(0xBF58_476D_1CE4_E5B9)
M2 = np.uint64(0x94D0_49BB_1331_11EB)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_ONE = np.uint64(1)

# Named streams: two uses of one seed never share draws.
DRAW, ORDER, AUGMENT, MIXER, INIT, CORESET, CHOICE = 1, 2, 3, 4, 5, 6, 7


@numba.njit(cache=True, inline="always")
def mix64(z):
    """Bijective scrambling of a uint64 (works on NumPy arrays through `mix64.py_func`)."""
    z = (z ^ (z >> _S30)) * M1
    z = (z ^ (z >> _S27)) * M2
    return z ^ (z >> _S31)


@numba.njit(cache=True, inline="always")
def hash64(key, position):
    """The 64 random bits of `position` under `key`; both uint64."""
    return mix64(key + (position + _ONE) * GOLDEN)


@numba.njit(cache=True, inline="always")
def below(bits, n):
    """A draw from 0..n-1 out of 64 random bits, n < 2^32; the bias is below n / 2^32. Both uint64."""
    return ((bits >> _S32) * n) >> _S32


def fold_in(*words: int) -> int:
    """Derive a 64-bit key from integers, in order: `fold_in(seed, AUGMENT, epoch)`.

    Every word passes through the finaliser, so neighbouring seeds or epochs give unrelated keys
    (`seed + epoch` would make run (s, e + 1) equal run (s + 1, e)). Negative words are taken modulo 2^64.
    """
    key = 0
    for word in words:
        z = ((key ^ (word & MASK)) + int(GOLDEN)) & MASK
        z = ((z ^ (z >> 30)) * int(M1)) & MASK
        z = ((z ^ (z >> 27)) * int(M2)) & MASK
        key = z ^ (z >> 31)
    return key


def hash_array(key, position) -> np.ndarray:
    """`hash64` over arrays: `key` and `position` are integers or integer arrays that broadcast, at least one an array.

    Returns:
        uint64 array, equal to the compiled function bit for bit.
    """
    key = np.atleast_1d(np.asarray(key, np.uint64))
    position = np.atleast_1d(position).astype(np.uint64)
    return mix64.py_func(key + (position + _ONE) * GOLDEN)


def below_array(bits: np.ndarray, n: int) -> np.ndarray:
    """`below` over an array of uint64 bits; int64 result in 0..n-1."""
    return below.py_func(bits, np.uint64(n)).astype(np.int64)
