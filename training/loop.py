"""The ring: plan, batches, steps, scores. Knows how steps are made; knows nothing of files, terminals or settings."""

import copy
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from loaders.types import Batch, EpochPlan, Scores
from training.checkpoint import State
from training.losses import batch_loss, batch_scores, sample_losses
from training.machine.distributed import Ranks
from training.machine.precision import Precision
from training.methods.batch_ops import main_samples, take
from training.methods.batch_rules import Offer
from training.step_rule import StepRule


def forward(model: nn.Module, images_BCHW: Tensor, precision: Precision, side: int | None = None) -> Tensor:
    """Logits [B, C] of images that the network sees at height and width `side`; None is their own."""
    if side is not None and images_BCHW.shape[2:] != (side, side):
        images_BCHW = F.interpolate(images_BCHW, size=(side, side), mode="area")
    with precision.autocast(images_BCHW.device):
        return model(images_BCHW)


def warm_up(model: nn.Module, shape_CHW: tuple[int, int, int], precision: Precision) -> None:
    """Pass two empty images through a copy, forward and backward: what its layers compile on their first use is then
    not on the training clock."""
    images = torch.zeros(2, *shape_CHW).to(memory_format=torch.channels_last)
    forward(copy.deepcopy(model).train(), images, precision).float().sum().backward()


def train_step(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    batch: Batch,
    precision: Precision,
    scaler: torch.amp.GradScaler | None = None,
    label_smoothing: float = 0.0,
    side: int | None = None,
    own_labels: bool = False,
    narrow: Callable[[Batch, Tensor, Tensor], Tensor | None] = lambda *_: None,
) -> tuple[Batch, Scores]:
    """One forward pass, one backward pass, one step of each optimiser; no host synchronisation (but fp16's scaler).

    Args:
        side: height and width at which the network sees the images; None is their own.
        own_labels: see `batch_scores`.
        narrow: of batch, logits and losses the positions that are descended on; None is all.

    Returns:
        what was descended on, and the scores of the same forward pass: float32 [B], or [B, P] per partner of a mixed
        batch.
    """
    logits_BC = forward(model, batch.images, precision, side)
    losses_B = sample_losses(logits_BC, batch.labels, batch.mix, label_smoothing)
    positions = narrow(batch, logits_BC.detach(), losses_B.detach())
    if positions is not None:
        batch, logits_BC, losses_B = take(batch, positions), logits_BC[positions], losses_B[positions]
    loss = batch_loss(losses_B, batch.weights)
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
    return batch, batch_scores(logits_BC.detach(), batch, own_labels)


def train_epoch(
    state: State,
    loader,
    rule: StepRule,
    clean_loader=None,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Iterator[None]:
    """Train on the rest of the state's plan, from its batch on, until plan or budget end; yields after each batch.

    A batch is one step, but for a rule that chooses within batches: there it is at most one. Close it
    (`contextlib.closing`) to stop early: the state then stands behind the last whole batch.

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
                chosen = batch if rule.choice is None else _choose(state, batch, plan, rule)
                if chosen is not None:
                    _step(state, chosen, rule, ranks)
                state.batch += 1
                now = time.perf_counter()
                ledger.train_seconds, mark = ledger.train_seconds + now - mark, now
                yield
                if not ranks.is_alone:  # they have just agreed on the slowest one's clock, and leave that together
                    mark = time.perf_counter()
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


def _choose(state: State, batch: Batch, plan: EpochPlan, rule: StepRule) -> Batch | None:
    """What the next step trains on; passes for scores alone, in evaluation mode, are paid for here."""
    side = rule.image_size(rule.budget.progress(state.ledger))

    def score(batch: Batch) -> Tensor:
        state.ledger.add_scoring(len(batch.images), rule.scoring_flops[side])
        state.model.eval()
        logits_BC = forward(state.model, batch.images, rule.precision, side)
        state.model.train()
        return logits_BC

    with state.ledger.clock("scoring"), torch.no_grad():
        return rule.choice.choose(state.memory, Offer(batch, plan, state.batch, score))


def _step(state: State, batch: Batch, rule: StepRule, ranks: Ranks) -> None:
    """One step, and its traces in table, averages and ledger."""
    ledger, size, num_passed = state.ledger, rule.batch_size, len(batch.images)
    progress = rule.budget.progress(ledger)
    side = rule.image_size(progress)
    rule.set_rates(state.optimizers, progress)
    choosing = {} if rule.choice is None else {"narrow": partial(rule.choice.narrow, state.memory)}
    batch, scores = train_step(
        state.network,
        state.optimizers,
        batch,
        rule.precision,
        state.scaler,
        rule.label_smoothing,
        side,
        rule.arazo,
        **choosing,
    )
    if scores.loss.ndim == 1:
        state.table.record(batch.ids, scores)
        state.loss_sum += scores.loss.sum()
    else:
        state.table.record_mixed(batch.ids, batch.mix, scores)
        state.loss_sum += (scores.loss * batch.mix.shares).sum()
    if state.average is not None:
        update_average(state.average, state.model, rule.decay(ledger.steps))
    before = ledger.samples
    if rule.choice is None:
        ledger.add_step(state.plan.ids[state.batch * size :][:size], rule.flops[side])
    else:
        state.memory.add_visits(main_samples(batch)[0])
        num_ranks = ranks.world_size
        ledger.add_chosen_step(len(batch.images) * num_ranks, num_passed * num_ranks, rule.flops[side])
    state.trained += ledger.samples - before


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, running statistics too; counters are copied."""
    pairs = [*zip(average.state_dict().values(), model.state_dict().values(), strict=True)]
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(decay)(*map(list, zip(*floats, strict=True)), None)
    for mine, theirs in pairs:
        if not mine.is_floating_point():
            mine.copy_(theirs)
