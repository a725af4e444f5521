"""The numbers of a run: a row of metrics.jsonl for each epoch, and summary.json at the end."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from loaders.order.diagnostics import describe_visits, describe_weights
from training.budget import budget_text
from training.evaluate.accuracy import Result
from training.own_code import file_digest, is_own
from training.report.choice import did_not_choose
from training.state import Run

_TOTALS = ("samples", "forward_samples", "backward_samples", "flops", "images_per_second")
_TOLD = ("method", "budget", "budget_unit", "epochs", "batch_size", "mixer", "seed", "model", "width")


def epoch_row(run: Run, tested: Result | None) -> dict[str, Any]:
    """The row of the epoch that has just ended; the test's numbers are None where it was not tested."""
    totals, visits = run.ledger.summary(), visits_of(run)
    choice = run.method.describe()
    return {
        "epoch": run.epoch + 1,
        "step": run.ledger.steps,
        "train_loss": run.train_loss,
        **_tested(run, tested),
        "distinct_samples": int((visits > 0).sum()),
        **{name: totals[name] for name in _TOTALS},
        **{name: value for name, value in totals.items() if name.endswith("_seconds")},
        "visits": describe_visits(visits),
        **({"choice": choice} if choice else {}),
        "weights": _next_weights(run),
    }


def _next_weights(run: Run) -> dict[str, float] | None:
    """How uneven the weights of the next epoch are; None where they cannot be computed.

    There may be no next epoch. If there is one, its plan raises the error, when this epoch's row and checkpoint are
    written.
    """
    try:
        return describe_weights(run.method.weights(run.epoch + 1, run.scores, run.progress))
    except Exception:  # noqa: BLE001 (a policy of one's own may raise anything)
        return None


def run_summary(run: Run, folder: Path, rows: list[dict[str, Any]], tested: Result) -> dict[str, Any]:
    """The content of summary.json, of a finished run.

    Args:
        rows: of metrics.jsonl.
    """
    config, coreset = run.config, run.data.coreset
    visits = visits_of(run)
    return {
        "name": folder.name,
        **_tested(run, tested),
        "train_loss": run.train_loss,
        **{name: getattr(config, name) for name in _TOLD},
        "options": vars(config.options) if config.options else {},
        "design": run.method.scheduler.design,
        "size_schedule": [*run.schedule.sizes],
        "clean_fraction": run.schedule.clean_fraction,
        "budget_text": budget_text(config),
        "num_samples": run.data.num_samples,
        "distinct_samples": int((visits > 0).sum()),
        **run.ledger.summary(),
        "visits": describe_visits(visits),
        "did_not_choose": did_not_choose(run, rows),
        **({"saved_fraction": run.ledger.saved_fraction} if run.method.own_length else {}),
        **({"coreset": coreset.summary(str(config.coreset))} if coreset else {}),
        "data": run.data.manifest.name,
        "digests": _digests(run),
        "precision": config.precision,
        "backend": run.data.train_loader.backend,
        "ranks": run.ranks.world_size,
        **machine(run.device),
    }


def _digests(run: Run) -> dict[str, str]:
    """Tells whether two runs with the same settings had the same data, core-set and code of one's own."""
    own = {name: getattr(run.config, name) for name in ("method", "model")}
    return {"data": run.data.digest, **{name: file_digest(value) for name, value in own.items() if is_own(value)}}


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics.jsonl by name, those of a part as "part/name", without the epoch."""
    flat: dict[str, float] = {}
    for name, value in row.items():
        parts = (
            {f"{name}/{part}": number for part, number in value.items()} if isinstance(value, dict) else {name: value}
        )
        flat |= {part: number for part, number in parts.items() if number is not None and name != "epoch"}
    return flat


def tested_split(row: dict[str, Any]) -> str:
    """What a row of metrics.jsonl or a summary was tested on: "test", "val" or "validation"."""
    return next((split for split in ("validation", "val") if f"{split}_accuracy" in row), "test")


def _tested(run: Run, tested: Result | None) -> dict[str, Any]:
    """The numbers of a test, named after what was tested: the test set, or the part held out for validation."""
    split = run.data.tested_split
    return {
        f"{split}_accuracy": tested and tested.accuracy,
        f"{split}_accuracy_tta": tested and tested.accuracy_tta,
        f"{split}_loss": tested and tested.loss,
    }


def visits_of(run: Run) -> np.ndarray:
    """How often each sample that can be drawn was trained on: a mixed image visits its samples by their fractions.

    Returns:
        float32 [N], or [M] of a core-set, a fixed subset, or what validation leaves.
    """
    scores = run.table.snapshot() if run.scores is None else run.scores
    subset = run.method.scheduler.subset
    return scores.visits if subset is None else scores.visits[subset]


def machine(device: torch.device) -> dict[str, Any]:
    """The processor and the versions that the run was made with."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "numba")}
    return {
        "processor": processor_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
    }


def processor_name() -> str:
    """The processor's marketing name where the system gives one."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
