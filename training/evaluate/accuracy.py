"""Accuracy on the test split, outside the training clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loaders.types import Batch
from training.machine.distributed import Ranks
from training.machine.precision import Precision

if TYPE_CHECKING:
    from training.state import Run


class Result(NamedTuple):
    """What a test gave.

    Attributes:
        accuracy: fraction from 0 to 1.
        loss: mean cross-entropy in nats.
        accuracy_tta: accuracy under test-time augmentation, None when not asked for.
    """

    accuracy: float
    loss: float
    accuracy_tta: float | None


def evaluate_run(run: Run) -> Result | None:
    """Test the run's evaluated weights where this epoch asks for it, else None; all ranks call it together.

    Tested are each `eval_every`-th epoch and the last one, whose test includes test-time augmentation if asked for.
    """
    every = run.config.eval_every
    if run.is_over or (every and (run.epoch + 1) % every == 0):
        return test(run, tta=run.is_over and run.config.tta)
    return None


def test(run: Run, tta: bool) -> Result:
    """Test the run's evaluated weights on the test set, or on what is held out, each rank on a part of it.

    Raises:
        Stopped: a signal came (in a run of one process).
    """
    model = run.evaluated_model
    run.ranks.broadcast_buffers(model)
    batches: Iterable[Batch] = run.data.test_loader.epoch(run.data.tested_plan(run.ranks))
    if run.ranks.is_alone:
        batches = run.stop.guard(batches)
    return evaluate(model, batches, run.precision, run.device, tta, run.ranks)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    precision: Precision,
    device: torch.device,
    tta: bool = False,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Result:
    """Pass every batch once through the model in evaluation mode; one host synchronisation at the end.

    Args:
        batches: any sizes, a short last one included.
        tta: compute `tta_logits` too.
        ranks: each passes its own batches; the result is that of all.

    Raises:
        ValueError: there was no sample.
    """
    was_training = model.training
    model.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=device)
    for batch in batches:
        with precision.autocast(device):
            logits_BC = model(batch.images).float()
            views_BC = tta_logits(model, batch.images) if tta else logits_BC
        hit, hit_tta = ((values.argmax(1) == batch.labels).sum() for values in (logits_BC, views_BC))
        totals[:3] += torch.stack([hit, F.cross_entropy(logits_BC, batch.labels, reduction="sum"), hit_tta]).double()
        totals[3] += len(batch.labels)
    model.train(was_training)
    *sums, num_samples = ranks.all_reduce(totals).tolist()
    if num_samples == 0:
        raise ValueError("the test split holds no samples: convert the data again")
    accuracy, loss, accuracy_tta = (value / num_samples for value in sums)
    return Result(accuracy, loss, accuracy_tta if tta else None)


def tta_logits(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Logits averaged over the nine shifts by at most one pixel each way, and their mirror images.

    A model with the attribute `knows_mirror_images`, whose logits a mirror image does not change, sees the shifts only.
    Three of the shifts, the image itself counted twice, are what K. Jordan averages in "94% on CIFAR-10 in 3.29
    seconds on a single A100" (arXiv:2404.00498), section 3.6.

    Returns:
        float32 [B, C].
    """
    height, width = images_BCHW.shape[2:]
    padded = F.pad(images_BCHW, (1, 1, 1, 1), mode="reflect")
    is_mirrored = not getattr(model, "knows_mirror_images", False)
    logits = []
    for top, left in itertools.product(range(3), repeat=2):
        view = padded[..., top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
        logits += [model(view).float(), *([model(view.flip(3)).float()] if is_mirrored else [])]
    return torch.stack(logits).mean(0)
