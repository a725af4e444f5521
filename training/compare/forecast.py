"""What a study will take: its cells, their FLOPs, and the time, from a short calibration on this machine."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from loaders.threads import available_cores
from training.compare.study import Cell
from training.config import Config
from training.machine.distributed import Ranks
from training.machine.signals import StopRequest
from training.methods import method_class
from training.report.terminal import clock
from training.run import run
from training.setup import set_up

CALIBRATION_SECONDS = 30.0  # of training, over all networks of a study


def forecast(cells: list[Cell], num_workers: int, stop: StopRequest, console: Console) -> None:
    """Print the cells that wait, what they cost, and how long `num_workers` workers will take for them."""
    if not cells:
        console.print("nothing is left to run")
        return
    networks = {network(cell.config): cell for cell in reversed(cells)}
    costs: dict[str, float] = {}
    with console.status(f"training for {CALIBRATION_SECONDS:g} s, to see how fast this machine is"):
        speeds = {
            key: calibrate(cell.config, CALIBRATION_SECONDS / len(networks), stop, num_workers)
            for key, cell in networks.items()
        }
    lines: Counter[tuple[str, str, str, float]] = Counter()
    seconds: defaultdict[tuple[str, str, str, float], float] = defaultdict(float)
    flops: defaultdict[tuple[str, str, str, float], float] = defaultdict(float)
    for cell in cells:
        key = f"{network(cell.config)} {cell.config.epochs}"
        if key not in costs:
            costs[key] = full_flops(cell.config)
        line = (cell.variant, cell.augmentation, cell.method, cell.config.budget)
        cost = expected_flops(cell.config, costs[key], speeds[network(cell.config)])
        lines[line] += 1
        flops[line] += cost
        seconds[line] += cost / speeds[network(cell.config)]
    table = Table()
    for column in ("variant", "augmentation", "method", "budget", "runs", "TFLOP", "time"):
        table.add_column(column, justify="right" if column in ("budget", "runs", "TFLOP", "time") else "left")
    for line, number in lines.items():
        variant, augmentation, method, budget = line
        values = (f"{budget:g}", f"{number}", f"{flops[line] / 1e12:,.1f}", clock(seconds[line]))
        table.add_row(variant, augmentation, method, *values)
    console.print(table)
    total = sum(seconds.values())
    console.print(
        f"{len(cells):,} runs, {sum(flops.values()) / 1e12:,.0f} TFLOP, {clock(total)} of one worker: about "
        f"{clock(total / num_workers)} with {num_workers} workers here"
    )


def network(config: Config) -> str:
    """What decides how fast a cell trains on a machine, and what an epoch of it costs."""
    shown = f"{config.image_size} {config.size_schedule} {config.validation:g}"
    return f"{config.data} {config.model} {config.width:g} {config.batch_size} {shown}"


def calibrate(config: Config, seconds: float, stop: StopRequest, num_workers: int) -> float:
    """FLOPs per second of a run with these settings on a worker's threads, its waiting for data included."""
    with tempfile.TemporaryDirectory() as folder, _threads(max(1, available_cores() // num_workers)):
        short = dataclasses.replace(
            config,
            budget=max(1.0, seconds),
            budget_unit="seconds",
            epoch_fraction=None,
            method="scan",
            options=method_class("scan").Options(),
            coreset=None,
            mixer_visits=0.0,  # a budget in seconds leaves the number of visits open
            tensorboard=False,
            tracker="none",
            out=folder,
        )
        summary = run(short, Path(folder) / "none", Console(quiet=True), stop, Ranks())
    return summary["flops"] / summary["train_seconds"]


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """In the block torch computes with this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def full_flops(config: Config) -> float:
    """FLOPs of the full budget of a cell, without passes for scores alone.

    A step costs what its image size does, and each size of the schedule has an equal part of the steps.
    """
    whole = dataclasses.replace(config, method="scan", options=method_class("scan").Options(), coreset=None)
    state = set_up(whole)
    size, sizes = state.config.batch_size, state.schedule.sizes or (None,)
    per_sample = sum(state.flops[shown].step for shown in sizes) / len(sizes)
    return config.epochs * (state.method.scheduler.num_items // size) * size * per_sample


def expected_flops(config: Config, full: float, speed: float) -> float:
    """FLOPs that a cell will spend; passes for scores alone, a third of a step each, add to a budget of samples."""
    if config.budget_unit == "seconds":
        return config.budget * speed
    passes = 1.0
    if config.budget_unit != "flops" and method_class(config.method).makes_passes:
        passes += 1 / (3 * config.budget)
    return config.budget * full * passes
