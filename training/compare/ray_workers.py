"""Starts the workers of a study on a Ray cluster, whose machines see the study's folder and the data."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from training.machine.signals import StopRequest


def run_ray_workers(folder: Path, num_workers: int, stop: StopRequest, gpus: float, own: tuple[str, ...]) -> int:
    """Run as many workers as Ray tasks, of one core and `gpus` GPUs each, and wait until all have ended.

    Ray is joined where RAY_ADDRESS says, else started on this machine.

    Returns:
        0 when all ended well, else the status of the first that did not.

    Raises:
        ImportError: Ray is not installed.
        Stopped: a signal came; the workers have saved and given their cells back.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ImportError("--launcher ray needs Ray: pip install ray, or leave --launcher out") from None
    is_mine = not ray.is_initialized()
    if is_mine:
        ray.init(log_to_driver=True, include_dashboard=False)

    def work_there(*arguments: Any) -> int:  # goes by value: the other machine finds `training` only by Rebar's names
        from rebar_loaders.names import take_names

        take_names()
        from training.compare.ray_workers import run_worker

        return run_worker(*arguments)

    work: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(work_there)
    tasks = [work.remote(str(folder.resolve()), str(Path.cwd()), own) for _ in range(num_workers)]
    try:
        waiting = tasks
        while waiting:
            stop.check()
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0.5)
        return next((status for status in ray.get(tasks) if status), 0)
    finally:
        for task in tasks:
            ray.cancel(task)
        ray.wait(tasks, num_returns=len(tasks), timeout=60)
        if is_mine:
            ray.shutdown()


def run_worker(folder: str, working_folder: str, own: tuple[str, ...]) -> int:
    """One worker; its paths are those of the driver's working folder."""
    import os

    import torch

    from training.compare.command import main

    os.chdir(working_folder)
    torch.set_num_threads(1)
    return main([folder, "--worker", *(f"--own={name}" for name in own)])
