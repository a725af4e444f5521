"""Starts the workers of a study on this machine: processes that share its cores, or one for each GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from loaders.threads import available_cores
from training.machine.signals import Stopped, StopRequest


def default_workers() -> int:
    """One worker for each GPU, or for each core where there is none."""
    return torch.cuda.device_count() or available_cores()


def run_workers(folder: Path, num_workers: int, stop: StopRequest, own: tuple[str, ...]) -> int:
    """Start workers and wait until all have ended.

    Ctrl-C and SIGTERM reach this process alone, which asks each worker once to save and to give its cell back. A worker
    whose parent is killed does so by itself (`stop_with_parent`).

    Returns:
        0 when all ended well, else the status of the first that did not; 130 after Ctrl-C, 143 after SIGTERM.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    command = [sys.executable, "-m", "rebar_loaders.commands", "compare", str(folder), "--worker"]
    command += [f"--parent={os.getpid()}", *(f"--own={name}" for name in own)]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(num_workers):
            mine = [core for position, core in enumerate(cores) if position % num_workers == index]
            mine = mine or cores[index % max(1, len(cores)) :][:1]
            with _pinned_to(mine):
                workers.append(subprocess.Popen(command, env=_environment(index, len(mine)), start_new_session=True))
        while any(worker.poll() is None for worker in workers):
            stop.check()
            time.sleep(0.1)
    except Stopped as stopped:
        return 128 + stopped.signal
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()
    return next((worker.returncode for worker in workers if worker.returncode), 0)


def stop_with_parent(parent: int) -> None:
    """Send this process SIGTERM when its parent has gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="rebar-parent", daemon=True).start()


def _environment(index: int, num_cores: int) -> dict[str, str]:
    """What a worker finds: as many threads as it has cores, and a GPU of its own."""
    values = {**os.environ, "OMP_NUM_THREADS": str(max(1, num_cores))}
    if torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(k) for k in range(torch.cuda.device_count())]
        values["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
    return values


@contextmanager
def _pinned_to(cores: list[int]) -> Iterator[None]:
    """What is started in the block runs on these cores only."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
