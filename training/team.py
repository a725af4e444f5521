"""Run a compiled task on torch's own threads. Knows the OpenMP library; knows no task.

torch's threads wait for their next work in a busy loop of some milliseconds: on cores that they hold, threads of another
pool get half of the time. GCC's OpenMP library, which torch's Linux wheels bring, starts a function on them by
`GOMP_parallel`; where it is not to be found, plain threads do the work.
"""

import ctypes
import functools
import os
from collections.abc import Callable

import numpy as np
import torch
from numba import cfunc

from loaders.parallel import for_blocks


def run(task: Callable, num_blocks: int, *numbers: int) -> None:
    """Call `task(address)` once on each of torch's threads; returns when all are done.

    Args:
        task: a Python function that Numba can compile, at the top level of a module; kept on disk.
        num_blocks, numbers: at the address lie, as int64: 0 (the next block, for `take_next`), 0 (the next thread, likewise),
            num_blocks, *numbers.
    """
    words = np.array((0, 0, num_blocks, *numbers), np.int64)
    threads = min(torch.get_num_threads(), num_blocks)
    if threads == 1:
        _compiled(task).ctypes(words.ctypes.data)
        return
    parallel = _parallel(os.getpid())
    if parallel is None:
        for_blocks(lambda *_: _compiled(task).ctypes(words.ctypes.data), threads, threads=threads)
    else:
        parallel(_compiled(task).address, words.ctypes.data, threads, 0)


@functools.cache
def _compiled(task: Callable):
    return cfunc("void(uintp)", cache=True, nopython=True)(task)


@functools.cache
def _parallel(pid: int):
    try:
        function = ctypes.CDLL("libgomp.so.1", os.RTLD_NOW | os.RTLD_NOLOAD).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    function.restype = None
    return function
