"""Whether a run's method did choose: a result without that says nothing of importance sampling."""

from __future__ import annotations

import math
from typing import Any

from loaders.order.designs import DESIGNS
from loaders.order.scheduler import IndexScheduler
from training.state import Run

NEARLY_EQUAL = 1.005
"""tau, sqrt(1 + cv^2) of the weights, up to which a draw by them is a uniform one (cv below 0.1)."""
NO_MORE_UNEVEN = 1.05
"""Spread of the visits over that of uniform draws, up to which it counts as theirs."""


def cannot_choose(run: Run) -> str | None:
    """Why the run's method cannot choose, known before it begins; None where it can.

    A draw without repeats that takes all samples leaves nothing to choose.
    """
    method, scheduler = run.method, run.method.scheduler
    batch_size = run.config.batch_size
    takes_all = len(scheduler) >= scheduler.num_items // batch_size * batch_size
    if not method.chooses or scheduler.policy == "uniform" or not takes_all or _repeats(scheduler):
        return None
    what = "--budget" if run.config.budget_unit == "samples" else "--budget or --epoch_fraction"
    return (
        f"{run.config.method} draws all {scheduler.num_items:,} samples in each epoch, so it cannot choose: "
        f"give a {what} below 1"
    )


def did_not_choose(run: Run, rows: list[dict[str, Any]], spread: dict[str, float]) -> str | None:
    """Why the result of a run says nothing of its method, known at its end; None where it chose.

    Args:
        rows: of metrics.jsonl.
        spread: of the visits (`describe_visits`).
    """
    name = run.config.method
    reason = cannot_choose(run) or run.method.did_not_choose()
    if reason or not run.method.chooses or name == "fixed":
        return reason
    if run.epoch <= max(1, run.method.warmup_epochs):
        return (
            f"{name} drew uniformly in all its epochs ({run.epoch}): it knows nothing of the samples before the first"
        )
    largest = max((row["weights"]["tau"] for row in rows[:-1] if row["weights"]), default=1.0)
    if largest < NEARLY_EQUAL:
        return f"the weights of {name} were nearly equal throughout (tau at most {largest:.4f}): a uniform draw"
    uniform = uniform_spread(run)
    if uniform and run.config.mixer == "none" and spread["cv"] < NO_MORE_UNEVEN * uniform:
        return (
            f"{name} visited the samples no more unevenly than uniform draws do (cv {spread['cv']:.3f}, uniform "
            f"{uniform:.3f})"
        )
    return None


def uniform_spread(run: Run) -> float:
    """Coefficient of variation of the visits that uniform draws of as many samples would have, each epoch its own."""
    scheduler = run.method.scheduler
    n, per_epoch = scheduler.num_items, len(scheduler)
    epochs = run.ledger.samples / per_epoch
    repeats = _repeats(scheduler)
    left_out = 1 - 1 / n if repeats else 1 - (per_epoch % n) / n if per_epoch % n else 0.0
    drawn = per_epoch if repeats else per_epoch % n
    variance = epochs * drawn / n * left_out
    return math.sqrt(variance) / (epochs * per_epoch / n) if epochs else 0.0


def _repeats(scheduler: IndexScheduler) -> bool:
    return scheduler.design in DESIGNS and DESIGNS[scheduler.design].repeats
