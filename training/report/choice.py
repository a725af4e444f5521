"""Whether a run's method did choose: a result without that says nothing of importance sampling."""

from __future__ import annotations

from typing import Any

from loaders.order.designs import DESIGNS
from loaders.order.scheduler import IndexScheduler
from training.state import Run

NEARLY_EQUAL = 1.005
"""tau, sqrt(1 + cv^2) of the weights, up to which a draw by them is a uniform one (cv below 0.1)."""


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


def did_not_choose(run: Run, rows: list[dict[str, Any]]) -> str | None:
    """Why the result of a run says nothing of its method, known at its end; None where it chose.

    The weights tell, not the visits: what was seldom visited has a larger error and is drawn for that, so that a method
    that does choose may visit the samples more evenly than uniform draws do.

    Args:
        rows: of metrics.jsonl.
    """
    name = run.config.method
    reason = cannot_choose(run) or run.method.did_not_choose()
    if not reason and run.method.own_length and run.ledger.saved_fraction < 1e-9:
        reason = f"{name} left out no sample in any of its epochs: a shuffled pass"
    if reason or not run.method.chooses or name == "fixed":
        return reason
    if run.epoch <= max(1, run.method.warmup_epochs):
        return (
            f"{name} drew uniformly in all its epochs ({run.epoch}): it knows nothing of the samples before the first"
        )
    largest = max((row["weights"]["tau"] for row in rows[:-1] if row["weights"]), default=1.0)
    if largest < NEARLY_EQUAL:
        return f"the weights of {name} were nearly equal throughout (tau at most {largest:.4f}): a uniform draw"
    return None


def _repeats(scheduler: IndexScheduler) -> bool:
    return scheduler.design in DESIGNS and DESIGNS[scheduler.design].repeats
