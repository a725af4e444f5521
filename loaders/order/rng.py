"""Random numbers as hashes: a pure function of (key, position), equal in Numba, in NumPy and on a GPU.

`fold_in` derives a 64-bit key from integers, `hash64` gives the 64 random bits of a position under a key. There is no
state. The hash is SplitMix64, read at any position (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), with the finaliser constants of Stafford's variant 13.
"""

import operator

import numpy as np

from ..compiled import compiled

MASK = 0xFFFF_FFFF_FFFF_FFFF
GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
M1 = np.uint64(0xBF58_476D_1CE4_E5B9)
M2 = np.uint64(0x94D0_49BB_1331_11EB)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_ONE = np.uint64(1)

# One word of a key for each use of a seed, so that no two uses share random numbers.
DRAW, ORDER, AUGMENT, MIXER, INIT, CORESET, CHOICE, VALIDATION, POLICY, NETWORK, IMAGE, TRANSFORM = range(1, 13)


@compiled(inline="always")
def mix64(z: np.uint64) -> np.uint64:
    """Scramble a uint64, bijectively: the finaliser of SplitMix64. `mix64.py_func` takes arrays."""
    z = (z ^ (z >> _S30)) * M1
    z = (z ^ (z >> _S27)) * M2
    return z ^ (z >> _S31)


@compiled(inline="always")
def hash64(key: np.uint64, position: np.uint64) -> np.uint64:
    """The 64 random bits of `position` under `key`."""
    return mix64(key + (position + _ONE) * GOLDEN)


@compiled(inline="always")
def below(bits: np.uint64, n: np.uint64) -> np.uint64:
    """Turn 64 random bits into a uniform integer in 0..n-1, n < 2^32; the bias is below n / 2^32."""
    return ((bits >> _S32) * n) >> _S32


def fold_in(*words: int) -> int:
    """Derive a 64-bit key from integers, whose order matters: `fold_in(seed, AUGMENT, epoch)`.

    Every word passes through the finaliser, so neighbouring seeds or epochs give unrelated keys. (A sum would not:
    with `seed + epoch`, epoch e + 1 of run s would equal epoch e of run s + 1.) Words are taken modulo 2^64.
    """
    key = 0
    for word in words:
        z = ((key ^ (operator.index(word) & MASK)) + int(GOLDEN)) & MASK
        z = ((z ^ (z >> 30)) * int(M1)) & MASK
        z = ((z ^ (z >> 27)) * int(M2)) & MASK
        key = z ^ (z >> 31)
    return key


def hash_array(key: int | np.ndarray, position: int | np.ndarray) -> np.ndarray:
    """`hash64` of arrays.

    Args:
        key, position: integers or integer arrays, which broadcast.

    Returns:
        uint64 array of at least one axis, equal to the compiled function to the bit.
    """
    key = np.atleast_1d(np.asarray(key, np.uint64))
    position = np.atleast_1d(position).astype(np.uint64)
    return mix64.py_func(key + (position + _ONE) * GOLDEN)


def below_array(bits: np.ndarray, n: int) -> np.ndarray:
    """`below` of an array of uint64 bits: int64, in 0..n-1."""
    return below.py_func(bits, np.uint64(n)).astype(np.int64)
