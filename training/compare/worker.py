"""A worker: takes one cell of a study after the other, and trains it as `training.run` would."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from training import checkpoint
from training.compare.store import Store, changed_settings
from training.compare.study import Cell
from training.machine.distributed import Ranks
from training.machine.memory import keep_freed_memory
from training.machine.signals import StopRequest
from training.report import folder as files
from training.report import history
from training.report.numbers import tested_split
from training.run import run
from training.settings_file import read_yaml
from training.step.losses import LossFailure

_RESOLVED = {"batch_size": 0, "device": "auto", "precision": "auto"}
"""Settings for which a run's config.yaml has what the data or the machine decided."""


def work(store: Store, stop: StopRequest, tell: Callable[[str], None]) -> int:
    """Run cells until none waits.

    Args:
        tell: is given one line for each cell that ends.

    Returns:
        number of cells that this worker has finished.

    Raises:
        Stopped: a signal came; the running cell is saved and given back.
        ValueError, OSError: a cell cannot begin, or a disk is full; it is given back.
    """
    keep_freed_memory()
    num_done = 0
    while True:
        stop.check()
        with store.claim() as cell:
            if cell is None:
                return num_done
            start = time.monotonic()
            try:
                result = train(store, cell, stop)
            except ValueError as error:
                raise ValueError(f"{cell.text}: {error}") from None
            store.finish(cell, result)
        gc.collect()  # a run's loaders, files and tensors hold each other, and would stay for many runs
        num_done += 1
        counts = store.counts()
        told = f"{100 * result['accuracy']:.2f} %" if result["status"] == "finished" else f"failed: {result['error']}"
        tell(f"[{counts['done']}/{sum(counts.values())}] {cell.text}: {told} in {time.monotonic() - start:.0f} s")


def train(store: Store, cell: Cell, stop: StopRequest) -> dict[str, Any]:
    """Run one cell, or the rest of it.

    Returns:
        status, error, accuracy and summary, as in `Outcome`.

    Raises:
        ValueError: the run cannot begin, or its folder holds one that was made with other settings.
    """
    folder = store.run_folder(cell)
    config = dataclasses.replace(cell.config, out=str(folder))
    try:
        if (folder / files.SUMMARY).exists():
            _check_settings(folder, cell)
            summary = files.read_summary(folder)
        else:
            summary = run(config, folder / checkpoint.FILE, Console(quiet=True), stop, Ranks())
        accuracy = summary[f"{tested_split(summary)}_accuracy"]
        result = {"status": "finished", "error": "", "accuracy": accuracy, "summary": summary}
    except LossFailure as failure:
        result = {"status": "failed", "error": str(failure), "accuracy": None, "summary": {}}
    for name in (checkpoint.FILE, history.FILE):  # of a study's many runs only the results are kept
        (folder / name).unlink(missing_ok=True)
    return result


def _check_settings(folder: Path, cell: Cell) -> None:
    """Refuse the finished run of a cell of this name that was made when a setting had another default.

    Raises:
        ValueError: it was; names the settings.
    """
    settings = cell.config.as_dict()
    changed = changed_settings(read_yaml(folder / files.CONFIG), settings)
    changed = [name for name in changed if settings[name] != _RESOLVED.get(name)]
    if changed:
        raise ValueError(
            f"{folder} holds a run that was made when {', '.join(changed)} had another default: delete that folder, "
            "and call again to run the cell anew"
        )
