"""Epochs that the garbage collector ends: it runs on any thread, inside any lock, and so may wait for nothing."""

import gc
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from loaders.backends.prefetch import prefetch

FFCV, DALI = pytest.mark.ffcv, pytest.mark.dali
LOADERS = [
    pytest.param("fused", "square", id="fused"),
    pytest.param("ffcv", "jpeg", marks=[FFCV, pytest.mark.slow], id="ffcv"),
    pytest.param("dali", "jpeg", marks=[DALI, pytest.mark.slow], id="dali"),
]
# Each epoch is suspended in a reference cycle: a loop that failed, whose error is kept by the frame it came from.
PROGRAM = """
    import concurrent.futures, faulthandler, gc, threading
    import numpy as np
    import loaders.threads
    from loaders import Augment, EpochPlan, make_loader

    faulthandler.dump_traceback_later({limit}, exit=True)
    loader = make_loader({path!r}, 4, backend={backend!r}, augment=Augment(flip=True), num_threads=3)
    plan = EpochPlan(np.arange(40), key=3)

    def fail_inside(how):
        batches = loader.epoch(plan)
        try:
            for i, batch in enumerate(batches):
                if i == how % 3:
                    raise ValueError("the loop failed")
        except ValueError as error:
            kept = error

    class Executor(concurrent.futures.ThreadPoolExecutor):
        def _adjust_thread_count(self):
            gc.collect(1)  # `submit` holds its locks
            super()._adjust_thread_count()

    loaders.threads.ThreadPoolExecutor = Executor
    gc.set_threshold({threshold})
    for how in range({epochs}):
        fail_inside(how)
    print(len(list(loader.epoch(plan))))
    gc.collect()
    gc.set_threshold(700)
    for thread in threading.enumerate():
        if thread.name == "rebar-prefetch":
            thread.join()
    print(sum(thread.name == "rebar-prefetch" for thread in threading.enumerate()))
"""


def test_an_epoch_that_the_collector_ends_does_not_wait_for_its_thread():
    """The collector runs inside a lock that the thread waits for."""
    lock, waits = threading.Lock(), threading.Event()

    def source():
        yield 0
        waits.set()
        with lock:
            yield 1

    def collect():
        with lock:
            cycle = [prefetch(source, 2, None)]
            next(cycle[0])
            cycle.append(cycle)
            waits.wait()
            del cycle
            gc.collect()

    collector = threading.Thread(target=collect, daemon=True)
    collector.start()
    collector.join(10)
    assert not collector.is_alive()


def run_in_cycles(path, backend: str, threshold: int, epochs: int, limit: int) -> None:
    settings = {"path": str(path), "backend": backend, "threshold": threshold, "epochs": epochs, "limit": limit}
    program = textwrap.dedent(PROGRAM.format(**settings))
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    run = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(run, capture_output=True, text=True, timeout=limit + 30, cwd=root, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "10\n0\n", "")


@pytest.mark.parametrize(("backend", "file"), LOADERS)
def test_the_collector_ends_epochs(betons, backend, file):
    run_in_cycles(betons[file].path, backend, threshold=1_000_000, epochs=60, limit=30)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [1, 700])
@pytest.mark.parametrize(("backend", "file"), LOADERS)
def test_the_collector_ends_thousands_of_epochs(betons, backend, file, threshold):
    run_in_cycles(betons[file].path, backend, threshold=1_000_000, epochs=1000, limit=240)
