"""Sets of ids as one bit each, in blocks of ids that several threads work on."""

import numpy as np

from ..compiled import compiled
from ..threads import for_blocks

BLOCK = 4096  # ids per block: their keys stay in the L1 cache
WORDS = BLOCK // 64  # of a block
_GRAIN = 48  # least number of blocks for a thread


@compiled(nogil=True, inline="always")
def count_ones(word):
    """The number of set bits of a uint64, as uint64; LLVM knows this form and makes one instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555_5555_5555_5555))
    word = (word & np.uint64(0x3333_3333_3333_3333)) + ((word >> np.uint64(2)) & np.uint64(0x3333_3333_3333_3333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F_0F0F_0F0F_0F0F)
    return (word * np.uint64(0x0101_0101_0101_0101)) >> np.uint64(56)


@compiled(nogil=True, error_model="numpy")
def extract(first, last, bits, offsets, out):
    """Write the ids of the set bits of blocks first..last-1, those of a block from its offset on."""
    for block in range(first, last):
        at = offsets[block]
        for word in range(block * WORDS, (block + 1) * WORDS):
            rest = bits[word]
            while rest:
                out[at] = word * 64 + np.int64(count_ones(~rest & (rest - np.uint64(1))))  # trailing zeros
                at += 1
                rest &= rest - np.uint64(1)


@compiled(nogil=True)
def block_offsets(bits, offsets):
    """Count the bits that are set ahead of each block; returns how many are set in all."""
    total = 0
    for block in range(len(offsets)):
        offsets[block] = total
        for word in range(block * WORDS, (block + 1) * WORDS):
            total += np.int64(count_ones(bits[word]))
    return total


def bit_array(n: int) -> np.ndarray:
    """One zeroed bit per id, in whole blocks: uint64 [ceil(n / BLOCK) * BLOCK / 64].

    Id i is bit i % 64 of word i // 64.
    """
    return np.zeros(-(-n // BLOCK) * WORDS, np.uint64)


def ids_of_bits(bits: np.ndarray, threads: int | None = None) -> np.ndarray:
    """The ids whose bits are set in a `bit_array`: int64, ascending."""
    offsets = np.empty(len(bits) // WORDS, np.int64)
    out = np.empty(block_offsets(bits, offsets), np.int64)
    for_blocks(extract, len(offsets), bits, offsets, out, threads=threads, grain=_GRAIN)
    return out
