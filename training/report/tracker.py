"""Experiment trackers, on request: Weights & Biases, or Trackio, which has the same interface and needs no account."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loaders.formats.sentence import one_line
from training.report.numbers import scalars

PROJECT = "rebar"


def require_tracker(name: str) -> None:
    """Check that the tracker is installed, before a run is set up.

    Raises:
        ImportError: the package is missing.
    """
    if importlib.util.find_spec(name) is None:
        raise ImportError(
            f"--tracker {name} needs the package {name}, which is not installed: pip install {name}, or leave "
            "--tracker out"
        )


@contextmanager
def tracking(name: str, folder: Path, config: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that logs the numbers of one row of metrics.jsonl, with the epoch as its step.

    The tracked run has the folder's name and eight digits that stand for its place: a resumed run goes on in it.

    Args:
        name: "wandb" or "trackio"; what else they need, such as WANDB_MODE=offline, they read from the environment.
        config: the run's settings.

    Raises:
        ValueError: the tracker could not begin; says why.
    """
    tracker = importlib.import_module(name)
    run_name = f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"
    more = {"id": run_name, "dir": str(folder)} if name == "wandb" else {}
    try:
        run = tracker.init(project=PROJECT, name=run_name, config=config, resume="allow", **more)
    except Exception as error:
        raise ValueError(
            f"--tracker {name} could not begin ({type(error).__name__}: {one_line(error, 300)}): leave it out, or let "
            "it work offline"
        ) from error
    try:
        yield lambda row: run.log(scalars(row), step=row["epoch"])
    finally:
        tracker.finish()
