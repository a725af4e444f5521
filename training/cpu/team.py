"""Run compiled blocks of work on torch's own threads. Knows the OpenMP library; knows no work.

torch's threads wait for their next work in a busy loop of some milliseconds: on cores that they hold, threads of
another pool get half of the time. GCC's OpenMP library, which torch's Linux wheels bring, starts a function on them by
`GOMP_parallel`; where it is not to be found, plain threads do the work.
"""

import ctypes
import functools
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np
import torch
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import cfunc, njit, types
from numba.extending import intrinsic

from loaders.threads import for_blocks

OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
block_of_work = njit(**OPTIONS)
"""Decorates what `run` runs, and what that calls: functions of addresses, which check nothing. `run` keeps the compiled
code on disk."""
_NUMPY_DTYPES = {torch.float32: np.float32, torch.bfloat16: np.uint16, torch.int16: np.int16}


@functools.cache
def has_products(dtype: torch.dtype) -> bool:
    """True where the processor, and the compiler for it, has the instructions with which this package multiplies."""
    has = get_host_cpu_features()
    needed = {torch.float32: ("avx2", "fma"), torch.bfloat16: ("avx512bf16",), torch.int16: ("avx2", "fma")}
    return all(has.get(name) for name in needed.get(dtype, ("none",)))


@functools.cache
def whole_factors_pay() -> bool:
    """True where products of int16 are quicker than of float32: not with AVX-512 without its VNNI."""
    has = get_host_cpu_features()
    return has_products(torch.int16) and bool(not has.get("avx512f") or has.get("avx512vnni"))


@functools.cache
def has_matrix_unit() -> bool:
    """True where the processor has AMX, with which torch's own convolutions are ahead of vector instructions."""
    return bool(get_host_cpu_features().get("amx-bf16"))


@functools.cache
def second_cache() -> int:
    """Bytes of a core's second cache."""
    size = os.sysconf("SC_LEVEL2_CACHE_SIZE") if "SC_LEVEL2_CACHE_SIZE" in os.sysconf_names else 0
    return size if size > 0 else 2**19  # not all systems tell


def rows_in_cache(row_bytes: int, multiple: int) -> int:
    """How many rows of scratch memory, a multiple of some number, stay in a core's second cache beside what is read."""
    return max(second_cache() * 3 // 4 // (row_bytes * multiple), 1) * multiple


def run(work: Callable, dtype: torch.dtype, num_blocks: int, *numbers: int, scratch: int = 0) -> None:
    """Call `work(dtype, block, scratch, numbers)` for each block once, on all of torch's threads; returns when all are
    done.

    What is done for a block must not depend on the thread that does it: then no result depends on their number.

    Args:
        work: decorated with `block_of_work`; takes the number format, as in `formats`, the block's
            index, the address of its thread's scratch memory, and the address of the numbers, for `unpack`.
        dtype: float32, bfloat16 or int16.
        numbers: addresses and sizes, kept as int64.
        scratch: bytes of scratch memory for each thread.
    """
    threads = min(torch.get_num_threads(), num_blocks)
    scratch = -(-scratch // 64) * 64  # whole cache lines: no two threads write to one
    memory = torch.empty(threads * scratch, dtype=torch.uint8)
    words = np.array((0, 0, num_blocks, memory.data_ptr(), scratch, *numbers), np.int64)
    task, address = _task(work, dtype), words.ctypes.data
    parallel = _parallel()
    if threads == 1:
        task.ctypes(address)
    elif parallel is None:
        for_blocks(lambda *_: task.ctypes(address), threads, threads=threads)
    else:
        parallel(task.address, address, threads, 0)


@intrinsic(prefer_literal=True)
def unpack(typingctx, numbers, count):
    """The first so many numbers, as a tuple."""
    kind = types.UniTuple(types.intp, count.literal_value)

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        values = [builder.load(builder.gep(pointer, [ir.IntType(64)(k)])) for k in range(kind.count)]
        return context.make_tuple(builder, kind, values)

    return kind(types.uintp, count), generate


@intrinsic
def _take_next(typingctx, address):
    """The int64 there, which is then one more: each thread that asks gets another."""

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, ir.IntType(64)(1), "monotonic")

    return types.intp(types.uintp), generate


@functools.cache
def _task(work: Callable, dtype: torch.dtype):
    """`work` for all blocks that a thread gets, as a C function of the words' address; compiled once, kept on disk."""
    task = _all_blocks(_version())
    name = f"{work.py_func.__module__}.{work.py_func.__name__}.{dtype}"  # of the file that keeps it
    # No closure: Numba's key for one is new in each process.
    scope = {**task.__globals__, "work": work, "dtype": _NUMPY_DTYPES[dtype]}
    task = FunctionType(task.__code__, scope, name, None, task.__closure__)
    task.__qualname__ = name
    return cfunc("void(uintp)", cache=True)(task)


def _all_blocks(version: int) -> Callable:
    def task(words):
        _, _, num_blocks, memory, size = unpack(words, 5)
        scratch = memory + _take_next(words + 8) * size
        block = _take_next(words)
        while block < num_blocks and version >= 0:
            work(dtype, block, scratch, words + 40)  # noqa: F821 (see _task)
            block = _take_next(words)

    return task


@functools.cache
def _version() -> int:
    """Of the sources: Numba keys what it keeps by the numbers that a function closes over, but looks at one file."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


@functools.cache
def _parallel():
    """void GOMP_parallel(void (*function)(void *), void *data, unsigned threads, unsigned flags), or None."""
    try:
        function = ctypes.CDLL("libgomp.so.1", os.RTLD_NOW | os.RTLD_NOLOAD).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    function.restype = None
    return function
