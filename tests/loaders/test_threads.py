"""Kernels on threads: what a fork may not break."""

import os
import threading
import time

from numba import njit
from numba.core.compiler_lock import global_compiler_lock

import loaders.threads  # noqa: F401
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
