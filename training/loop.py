"""The ring: plan, batches, steps, scores. Knows how steps are made; knows nothing of files, terminals or settings."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from loaders.types import Batch, Scores
from training.budget import Budget
from training.checkpoint import State
from training.losses import batch_loss, batch_scores, sample_losses
from training.precision import Precision
from training.ranks import Ranks
from training.schedules import linear


def train_step(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batch: Batch,
    precision: Precision,
    scaler: torch.amp.GradScaler | None = None,
    label_smoothing: float = 0.0,
    side: int | None = None,
    own_labels: bool = False,
) -> Scores:
    """One forward pass, one backward pass, one step of each optimiser; no host synchronisation (but fp16's scaler).

    Args:
        side: height and width at which the network sees the pictures; None is their own.
        own_labels: see `batch_scores`.

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
    return batch_scores(logits_BC.detach(), batch, own_labels)


@dataclass(frozen=True)
class StepRule:
    """What a step does, as a pure function of progress: the share of the budget that is spent before it.

    Attributes:
        budget: when the run ends.
        batch_size: samples of a step, over all ranks.
        precision: of the forward and backward pass.
        flops: per sample of a forward and backward pass, by the pictures' side; None is their own.
        label_smoothing: see `sample_losses`.
        arazo: the last step takes `final_lr`, where by default it lies behind the last step; and scores of mixed
            pictures are credited as `batch_scores` says under `own_labels`.
        final_lr: rate at the end.
        sides: height and width of the pictures in equal parts of the budget; empty is their own throughout.
        clean_share: last share of the budget, which is for the clean loader.
        ema: decay of the averaged weights.
    """

    budget: Budget
    batch_size: int
    precision: Precision
    flops: dict[int | None, float]
    label_smoothing: float = 0.0
    arazo: bool = False
    final_lr: float = 0.0
    sides: tuple[int, ...] = ()
    clean_share: float = 0.0
    ema: float = 0.0

    def set_rates(self, optimizers: list[torch.optim.Optimizer], progress: float) -> float:
        """Set each parameter group's rate by its `base_lr` and `span`; returns the first's."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(progress, group["base_lr"], group["span"])
        return optimizers[0].param_groups[0]["lr"]

    def rate(self, progress: float, base_lr: float, span: float = 1.0) -> float:
        """Learning rate: from `base_lr` to `final_lr` in the share `span` of the budget."""
        steps = self.budget.total_steps
        return linear(progress, base_lr, self.final_lr, span * (steps - 1) / steps if self.arazo and steps else span)

    def side(self, progress: float) -> int | None:
        """Height and width of the pictures; None is their own."""
        return self.sides[min(int(progress * len(self.sides) + 1e-9), len(self.sides) - 1)] if self.sides else None

    def is_clean(self, progress: float) -> bool:
        """Whether pictures are no longer mixed."""
        return progress >= 1 - self.clean_share - 1e-9


def train_epoch(
    state: State,
    loader,
    rule: StepRule,
    clean_loader=None,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Iterator[None]:
    """Train on the rest of the state's plan, from its batch on, until plan or budget end; yields after each step.

    Close it (`contextlib.closing`) to stop early: the state then stands behind the last whole step.

    Args:
        loader: has `epoch(plan, start_batch) -> Iterator[Batch]`: this rank's part of each batch of the plan.
        clean_loader: the same without mixing, for the last share of the budget; None is `loader`.
        ranks: plan and ledger are of all of them; each trains on its own positions r, r + w, ... What decides the rates
            must be equal at all before the first step and after each.
    """
    ledger, budget = state.ledger, rule.budget
    clean_loader = clean_loader or loader
    plan = state.plan if ranks.is_alone else state.plan.shard(ranks.rank, ranks.world_size)
    state.network.train()
    mark = time.perf_counter()
    try:
        is_over = budget.is_spent(ledger)
        while not is_over:
            source = clean_loader if rule.is_clean(budget.progress(ledger)) else loader
            waited = time.perf_counter()
            for batch in source.epoch(plan, start_batch=state.batch):
                ledger.data_seconds += time.perf_counter() - waited
                _step(state, batch, rule)
                now = time.perf_counter()
                ledger.train_seconds, mark = ledger.train_seconds + now - mark, now
                yield
                is_over = budget.is_spent(ledger)
                if is_over or (
                    source is loader and clean_loader is not loader and rule.is_clean(budget.progress(ledger))
                ):
                    break
                waited = time.perf_counter()
            else:
                is_over = True
        if state.loss_sum.is_cuda:
            torch.cuda.synchronize(state.loss_sum.device)
    finally:
        ledger.train_seconds += time.perf_counter() - mark


def _step(state: State, batch: Batch, rule: StepRule) -> None:
    """One step, and its traces in table, averages and ledger."""
    ledger, size = state.ledger, rule.batch_size
    progress = rule.budget.progress(ledger)
    side = rule.side(progress)
    rule.set_rates(state.optimizers, progress)
    scores = train_step(
        state.network, state.optimizers, batch, rule.precision, state.scaler, rule.label_smoothing, side, rule.arazo
    )
    if scores.loss.ndim == 1:
        state.table.record(batch.ids, scores)
        state.loss_sum += scores.loss.sum()
    else:
        state.table.record_mixed(batch.ids, batch.mix, scores)
        state.loss_sum += (scores.loss * batch.mix.shares).sum()
    if state.average is not None:
        update_average(state.average, state.model, rule.ema)
    ledger.add_step(state.plan.ids[state.batch * size :][:size], rule.flops[side])
    state.batch += 1


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, running statistics too; counters are copied."""
    pairs = [*zip(average.state_dict().values(), model.state_dict().values(), strict=True)]
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(decay)(*map(list, zip(*floats, strict=True)), None)
    for mine, theirs in pairs:
        if not mine.is_floating_point():
            mine.copy_(theirs)
