"""One training step on the device. The host launches it, kernel by kernel or as one graph (`training.step.graph`)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from torch import Tensor

from loaders.types import Batch
from training.step.batch_ops import take
from training.step.losses import batch_loss, batch_scores, sample_losses
from training.step.passes import forward, keyed_layers

if TYPE_CHECKING:
    from training.state import Run


def step(run: Run, batch: Batch, size: int | None, part: float | Tensor) -> int:
    """One forward pass, one backward pass, one step of each optimiser; then the average and the table are updated.

    The learning rates are those of the optimisers' groups.

    Args:
        size: height and width at which the network sees the images; None is their own.
        part: by which part of the way the average moves to the new weights; a number, or a scalar on the device.

    Returns:
        number of samples that were trained on.
    """
    with keyed_layers(run) if run.draws else nullcontext():
        logits_BC = forward(run.network, batch.images, run.precision, size)
    losses_B = sample_losses(logits_BC, batch.labels, batch.mix, run.config.label_smoothing)
    kept = run.method.keep(batch, logits_BC.detach(), losses_B.detach())
    if kept is not None:
        batch, logits_BC, losses_B = take(batch, kept), logits_BC[kept], losses_B[kept]
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(batch_loss(losses_B, batch.weights)).backward()
    for optimizer in run.optimizers:
        run.scaler.step(optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.follow(run.model, part)
    record(run, batch, logits_BC.detach())
    return len(batch.images)


def record(run: Run, batch: Batch, logits_BC: Tensor) -> None:
    """Add the scores of a step's own forward pass to the table, and its loss to the epoch's."""
    scores = batch_scores(logits_BC, batch, own_labels=run.config.compat == "arazo")
    if scores.loss.ndim == 1:
        run.table.record(batch.ids, scores)
        run.loss_sum += scores.loss.sum()
    else:
        assert batch.mix is not None
        run.table.record_mixed(batch.ids, batch.mix, scores)
        run.loss_sum += (scores.loss * batch.mix.shares).sum()
