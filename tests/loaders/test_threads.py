"""Kernels on threads: what a fork may not break."""

import os
import threading
import time

import pytest
from numba import njit
from numba.core.compiler_lock import global_compiler_lock

from loaders.threads import for_blocks
from tests.loaders.backends.contract import exit_code


def test_a_process_forked_during_a_compilation_can_compile():
    compiling = threading.Event()

    def compile_for_a_second():
        with global_compiler_lock:
            compiling.set()
            time.sleep(1)

    thread = threading.Thread(target=compile_for_a_second)
    thread.start()
    compiling.wait()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = njit(lambda n: n - 1)(1)
        finally:
            os._exit(status)
    thread.join()
    assert exit_code(child) == 0
    assert njit(lambda n: n + 1)(1) == 2


def test_where_one_block_raises_all_others_are_done_when_the_error_arrives():
    done = []

    def kernel(first, last):
        if first < 2:
            raise ValueError(f"block {first}")
        time.sleep(0.2)
        done.append(first)

    with pytest.raises(ValueError, match="block 0"):
        for_blocks(kernel, 4, threads=4)
    assert sorted(done) == [2, 3]
    with pytest.raises(ValueError, match="block 0"):
        for_blocks(kernel, 4, threads=4, caller_helps=False)
    assert sorted(done) == [2, 2, 3, 3]


def test_calls_of_many_sizes_share_few_threads():
    def num_threads():
        return sum(thread.name.startswith("rebar-kernel") for thread in threading.enumerate())

    before = num_threads()
    for num in range(2, 18):
        for_blocks(lambda first, last: None, num, threads=num)
    assert num_threads() - before <= 1 + 2 + 4 + 8 + 16
