"""Run a compiled kernel over blocks on several threads.

The kernels are Numba functions with `nogil=True`; plain threads drive them. Numba's own parallel layers are not used:
the default one aborts the process when two Python threads launch kernels at once, and the OpenMP one does not survive a
fork.

A process that is forked while a thread compiles would inherit the compiler's lock, held by a thread that it does not
have, and its first kernel would wait for ever. So a fork waits until nothing is being compiled.
"""

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

from numba.core.compiler_lock import global_compiler_lock

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def available_cores() -> int:
    """The cores that this process may use (`taskset` and cgroup cpusets are respected)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    # Keyed by the process: threads do not survive a fork, so a child gets a pool of its own.
    return ThreadPoolExecutor(threads, thread_name_prefix="rebar-kernel")


def for_blocks(
    kernel, num_blocks: int, *args, threads: int | None = None, grain: int = 1, caller_helps: bool = True
) -> None:
    """Call `kernel(first, last, *args)` until each block of 0..num_blocks-1 is covered once; returns when all are done.

    What the kernel does for a block must not depend on which call covers it: then no result depends on `threads`.
    A thread is only used for at least `grain` blocks: handing work over costs 30 to 120 us. With `caller_helps=False`
    the kernel runs only on threads that live as long as the process, for a library that keeps memory for each thread.
    """
    threads = max(min(threads or available_cores(), num_blocks // grain), 1)
    if threads == 1 and caller_helps:
        kernel(0, num_blocks, *args)
        return
    cuts = [num_blocks * i // threads for i in range(threads + 1)]
    pool = _pool(os.getpid(), threads - caller_helps)
    futures = [pool.submit(kernel, a, b, *args) for a, b in itertools.pairwise(cuts[caller_helps:])]
    try:
        if caller_helps:
            kernel(cuts[0], cuts[1], *args)
    finally:
        for future in futures:
            future.result()
