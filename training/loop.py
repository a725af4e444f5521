"""The ring: plan, batches, steps, scores. Knows how steps are made; knows nothing of files, terminals or settings."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from loaders.types import Batch, Scores
from training.checkpoint import State
from training.losses import batch_loss, sample_losses, sample_scores
from training.precision import Precision
from training.ranks import Ranks
from training.schedules import linear_table, warmup_linear


def train_step(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batch: Batch,
    precision: Precision,
    scaler: torch.amp.GradScaler | None = None,
    label_smoothing: float = 0.0,
    side: int | None = None,
) -> Scores:
    """One forward pass, one backward pass, one step of each optimiser; no host synchronisation (but fp16's scaler).

    Args:
        side: height and width at which the network sees the pictures; None is their own.

    Returns:
        scores of the same forward pass, float32 [B], or [B, P] per partner of a mixed batch.
    """
    images = batch.images
    if side is not None and side != images.shape[2]:
        images = F.interpolate(images, size=(side, side), mode="area")
    with precision.autocast(images.device):
        logits_BC = model(images)
    loss = batch_loss(sample_losses(logits_BC, batch.labels, batch.mix, label_smoothing), batch.weights)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    if scaler is None:
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    else:
        scaler.scale(loss).backward()
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
    labels = batch.labels if batch.mix is None else batch.labels[batch.mix.partners]
    return sample_scores(logits_BC.detach(), labels)


@dataclass(frozen=True)
class StepRule:
    """What a step does as a pure function of its number: rates and picture size.

    Attributes:
        total_steps: steps that the budget buys in the whole run.
        label_smoothing: see `sample_losses`.
        arazo: fall along the reference's table (`linear_table`) in place of to `final_lr` behind the last step.
        final_lr: rate of SGD's groups at the end.
        sides: height and width of the pictures in equal parts of the run; empty is their own throughout.
    """

    total_steps: int
    label_smoothing: float = 0.0
    arazo: bool = False
    final_lr: float = 0.0
    sides: tuple[int, ...] = ()

    def set_rates(self, optimizers: list[torch.optim.Optimizer], step: int) -> float:
        """Set each parameter group's rate for this step (from 0) by its `base_lr` and `span`; returns the first's."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step, group["base_lr"], group["span"])
        return optimizers[0].param_groups[0]["lr"]

    def rate(self, step: int, base_lr: float, span: float = 1.0) -> float:
        """Learning rate of a step: from `base_lr` to `final_lr` in the share `span` of the run."""
        steps = max(1, round(span * self.total_steps))
        if self.arazo:
            return linear_table(step, steps, base_lr, end=self.final_lr)
        return base_lr * warmup_linear(step, steps, final=self.final_lr / base_lr)

    def side(self, step: int) -> int | None:
        """Height and width of the pictures at this step; None is their own."""
        return self.sides[step * len(self.sides) // self.total_steps] if self.sides else None


def train_epoch(
    state: State,
    loader,
    batch_size: int,
    rule: StepRule,
    precision: Precision,
    flops: dict[int | None, float],
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Iterator[None]:
    """Train on the rest of the state's plan, from its batch on; yields after each step.

    Close it (`contextlib.closing`) to stop early: the state then stands behind the last whole step.

    Args:
        loader: has `epoch(plan, start_batch) -> Iterator[Batch]`: this rank's part of each batch of the plan.
        batch_size: samples of a step, over all ranks.
        flops: per sample of a forward and backward pass, by the pictures' side.
        ranks: the plan and the ledger are of all of them; each trains on its own positions r, r + w, ...
    """
    state.network.train()
    ledger, table, ids_K = state.ledger, state.table, state.plan.ids
    plan = state.plan if ranks.is_alone else state.plan.shard(ranks.rank, ranks.world_size)
    started = waited = time.perf_counter()
    try:
        for batch in loader.epoch(plan, start_batch=state.batch):
            ledger.data_seconds += time.perf_counter() - waited
            side = rule.side(ledger.steps)
            rule.set_rates(state.optimizers, ledger.steps)
            scores = train_step(
                state.network, state.optimizers, batch, precision, state.scaler, rule.label_smoothing, side
            )
            if batch.mix is None:
                table.record(batch.ids, scores)
                state.loss_sum += scores.loss.sum()
            else:
                table.record_mixed(batch.ids, batch.mix, scores)
                state.loss_sum += (scores.loss * batch.mix.shares).sum()
            ledger.add_step(ids_K[state.batch * batch_size :][:batch_size], flops[side])
            state.batch += 1
            yield
            waited = time.perf_counter()
        if state.loss_sum.is_cuda:
            torch.cuda.synchronize(state.loss_sum.device)
    finally:
        ledger.train_seconds += time.perf_counter() - started
