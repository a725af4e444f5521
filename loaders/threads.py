"""Run a compiled kernel over blocks on several threads.

Kernels are Numba functions with `nogil=True`, called from plain Python threads. Numba's own parallel layers are not
used: the default one aborts the process when two Python threads launch kernels at once, and the OpenMP one does not
survive a fork.

A process that is forked while a thread compiles inherits the compiler's lock, but not the thread that would release it,
so its first kernel would wait forever. Here a fork waits until nothing is being compiled.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from numba.core.compiler_lock import global_compiler_lock

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def available_cores() -> int:
    """Number of cores that this process may use; `taskset` and cgroup cpusets are respected."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """A pool whose threads have all started, so that no later call finds that one cannot.

    Keyed by the process: threads do not survive a fork, so a child gets a pool of its own.
    """
    pool, all_started = ThreadPoolExecutor(threads, thread_name_prefix="rebar-kernel"), threading.Barrier(threads)
    try:
        waiting = [pool.submit(all_started.wait) for _ in range(threads)]
        for future in waiting:
            future.result()
    except BaseException:
        all_started.abort()
        pool.shutdown(cancel_futures=True)
        raise
    return pool


def _submit(threads: int, kernel: Callable[..., object], *args: object) -> Future[object]:
    """Start a kernel on another thread; run it here where the main thread has ended, and with it all pools."""
    try:
        return _pool(os.getpid(), threads).submit(kernel, *args)
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise
    done: Future[object] = Future()
    done.set_result(kernel(*args))
    return done


def for_blocks(
    kernel: Callable[..., object],
    num_blocks: int,
    *args: object,
    threads: int | None = None,
    grain: int = 1,
    caller_helps: bool = True,
) -> None:
    """Split the blocks 0..num_blocks-1 among threads, and return when all are done, also where one of them raises.

    Each thread calls `kernel(first, last, *args)` once, for the blocks first..last-1. What the kernel does for a block
    must not depend on which call covers it: then no result depends on the number of threads.

    Args:
        kernel: releases the GIL.
        threads: upper limit; None takes all cores.
        grain: least number of blocks for which a thread is used. To hand work to a thread costs 30 to 120 us.
        caller_helps: whether the calling thread takes a part. If not, the kernel runs only on threads that live as long
            as the process, for a library that keeps memory for each thread.

    Raises:
        Exception: the first that a kernel raised.
    """
    threads = max(min(threads or available_cores(), num_blocks // grain), 1)
    if threads == 1 and caller_helps:
        kernel(0, num_blocks, *args)
        return
    cuts = [num_blocks * i // threads for i in range(threads + 1)]
    others = threads - caller_helps
    futures = [_submit(others, kernel, a, b, *args) for a, b in itertools.pairwise(cuts[caller_helps:])]
    try:
        if caller_helps:
            kernel(cuts[0], cuts[1], *args)
    finally:
        errors = [error for future in futures if (error := future.exception()) is not None]  # waits for each
    if errors:
        try:
            raise errors[0]
        finally:
            del errors, futures  # the exception holds this frame
