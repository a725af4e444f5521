"""The training loop: plan an epoch, train on its batches, record the scores of the samples, plan the next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import torch

from loaders.types import Batch, EpochPlan
from training import checkpoint
from training.evaluate.accuracy import evaluate_run
from training.machine.signals import Stopped
from training.state import Run
from training.step.graph import graph_step
from training.step.losses import LossFailure
from training.step.passes import Passes
from training.step.step import step

if TYPE_CHECKING:
    from training.report.report import Report


def fit(run: Run, report: Report) -> None:
    """Train until the budget is spent; every epoch is evaluated, recorded and saved. All ranks call it together.

    Raises:
        Stopped: a signal came; the state is saved.
        LossFailure: training has diverged, or the method could not choose.
    """
    while run.plan is not None or not run.is_over:
        try:
            run.agree()
            if run.plan is None:
                plan_epoch(run)
            with closing(run.ledger.timed("train", train_epoch(run))) as batches:
                for _ in batches:
                    report.batch(run)
                    run.agree()
            run.agree()
            end_epoch(run)
            report.history(run)
            report.epoch(run, evaluate_run(run))
            run.next_epoch()
        except Stopped:
            checkpoint.save(report.folder, run)
            raise
        checkpoint.save(report.folder, run)


def plan_epoch(run: Run) -> EpochPlan:
    """Draw the order of the next epoch from what is known of the samples, and put it into the run."""
    with run.ranks.together(), run.ledger.clock("train"), run.ledger.clock("plan"):
        known = run.table.snapshot() if run.scores is None else run.scores
        run.plan = run.method.plan(run.epoch, known, run.progress)
    return run.plan


def train_epoch(run: Run) -> Iterator[None]:
    """Train on the rest of the run's plan, until plan or budget end; yields after each batch.

    A batch is one step, or at most one where the method chooses within batches. Closing it early leaves the run at the
    end of the last whole batch. With several ranks, what decides the rates must be equal on all of them after each
    yield.
    """
    assert run.plan is not None, "no epoch is planned"
    plan = run.shard(run.plan)
    run.network.train()
    for batch in run.ledger.timed("data", batches(run, plan)):
        chosen = select(run, batch, plan)
        if chosen is not None:
            train_step(run, chosen)
        run.batch += 1
        yield
        if run.is_over:
            break
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)


def batches(run: Run, plan: EpochPlan) -> Iterator[Batch]:
    """The rest of this rank's plan in batches, no longer mixed once the clean end of the run begins."""
    is_clean = run.schedule.is_clean(run.progress)
    while run.batch * run.batch_size < len(plan) and not run.is_over:
        loader = run.data.clean_loader if is_clean else run.data.train_loader
        for batch in loader.epoch(plan, start_batch=run.batch):
            yield batch
            if not is_clean and run.schedule.is_clean(run.progress):
                is_clean = True
                break


def select(run: Run, batch: Batch, plan: EpochPlan) -> Batch | None:
    """What the next step trains on, by the run's method; the passes that it asks for are paid here."""
    with run.ledger.clock("scoring"), torch.no_grad():
        return run.method.select(batch, plan, run.batch, Passes(run))


def train_step(run: Run, batch: Batch) -> None:
    """One step by the rates of the schedule, and its traces in the ledger.

    No host synchronisation, but that of the loss scaler in fp16.
    """
    progress, num_passed = run.progress, len(batch.images)
    size = run.schedule.image_size(progress)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = run.schedule.rate(progress, group["base_lr"])
    part = 0.0 if run.average is None else run.average.advance()
    is_graph = run.graphs is not None and num_passed == run.batch_size
    num_samples = (graph_step if is_graph else step)(run, batch, size, part)
    num_ranks = run.ranks.world_size
    run.ledger.add_step(num_samples * num_ranks, num_passed * num_ranks, run.flops[size].step)
    run.trained += num_samples * num_ranks


def end_epoch(run: Run) -> None:
    """Merge what the ranks know of the epoch, and read its scores.

    Raises:
        LossFailure: the loss or a score is no longer finite.
    """
    total = run.ranks.all_reduce(run.loss_sum.clone()).item()
    run.method.end_epoch(run.ranks)
    with run.ranks.together():
        if not math.isfinite(total):
            raise LossFailure(
                f"training has diverged in epoch {run.epoch + 1} (summed loss {total}): lower the learning rate"
            )
        run.scores = run.table.snapshot()
    run.train_loss = total / run.trained if run.trained else None
