"""A worker: takes one cell of a study after the other, and trains it as `training.run` would."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from training import checkpoint
from training.compare.store import Store
from training.compare.study import Cell
from training.machine.distributed import Ranks
from training.machine.memory import keep_freed_memory
from training.machine.signals import StopRequest
from training.report import folder as files
from training.report import history
from training.report.numbers import tested_split
from training.run import run
from training.step.losses import LossFailure


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
        num_done += 1
        counts = store.counts()
        told = f"{100 * result['accuracy']:.2f} %" if result["status"] == "finished" else f"failed: {result['error']}"
        tell(f"[{counts['done']}/{sum(counts.values())}] {cell.text}: {told} in {time.monotonic() - start:.0f} s")


def train(store: Store, cell: Cell, stop: StopRequest) -> dict[str, Any]:
    """Run one cell, or the rest of it.

    Returns:
        status, error, accuracy and summary, as in `Outcome`.
    """
    folder = store.run_folder(cell)
    config = dataclasses.replace(cell.config, out=str(folder))
    try:
        if (folder / files.SUMMARY).exists():
            summary = files.read_summary(folder)
        else:
            summary = run(config, folder / checkpoint.FILE, Console(quiet=True), stop, Ranks())
    except LossFailure as failure:
        return {"status": "failed", "error": str(failure), "accuracy": None, "summary": {}}
    for name in (checkpoint.FILE, history.FILE):  # of a study's many runs only the results are kept
        (folder / name).unlink(missing_ok=True)
    accuracy = summary[f"{tested_split(summary)}_accuracy"]
    return {"status": "finished", "error": "", "accuracy": accuracy, "summary": summary}
