"""What a step does as the budget is spent: rates, sizes, mixing, choosing. Knows progress; makes no step."""

from dataclasses import dataclass, field

import torch

from training.budget import Budget
from training.machine.precision import Precision
from training.methods.batch_rules import BatchRule
from training.schedules import linear


@dataclass(frozen=True)
class StepRule:
    """What a step does, as a pure function of progress: the share of the budget that is spent before it.

    Attributes:
        budget: when the run ends.
        batch_size: samples of a step, over all ranks.
        precision: of the forward and backward pass.
        flops: per sample of a forward and backward pass, by the images' side; None is their own.
        label_smoothing: see `sample_losses`.
        arazo: the last step takes `final_lr`, where by default it lies behind the last step; and scores of mixed
            images are credited as `batch_scores` says under `own_labels`.
        final_lr: rate at the end.
        size_schedule: height and width of the images in equal parts of the budget; empty is their own throughout.
        clean_fraction: last share of the budget, which is for the clean loader.
        ema: decay per step of the averaged weights, once many steps are made.
        choice: the method that chooses within a batch; None trains on each batch as it comes.
        scoring_flops: per sample of a forward pass, by the images' side, for a choice that makes such passes.
    """

    budget: Budget
    batch_size: int
    precision: Precision
    flops: dict[int | None, float]
    label_smoothing: float = 0.0
    arazo: bool = False
    final_lr: float = 0.0
    size_schedule: tuple[int, ...] = ()
    clean_fraction: float = 0.0
    ema: float = 0.0
    choice: BatchRule | None = None
    scoring_flops: dict[int | None, float] = field(default_factory=dict)

    def set_rates(self, optimizers: list[torch.optim.Optimizer], progress: float) -> float:
        """Set each parameter group's rate by its `base_lr`; returns the first's."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(progress, group["base_lr"])
        return optimizers[0].param_groups[0]["lr"]

    def rate(self, progress: float, base_lr: float) -> float:
        """Learning rate: from `base_lr` to `final_lr`."""
        steps = self.budget.total_steps
        return linear(progress, base_lr, self.final_lr, (steps - 1) / steps if self.arazo and steps else 1.0)

    def image_size(self, progress: float) -> int | None:
        """Height and width of the images; None is their own."""
        return (
            self.size_schedule[min(int(progress * len(self.size_schedule) + 1e-9), len(self.size_schedule) - 1)]
            if self.size_schedule
            else None
        )

    def decay(self, steps: int) -> float:
        """Of the averaged weights behind so many steps: less than `ema` at first, that a short run can forget where it
        began (the rule of TensorFlow's moving averages)."""
        return min(self.ema, (1 + steps) / (10 + steps))

    def is_clean(self, progress: float) -> bool:
        """Whether images are no longer mixed."""
        return progress >= 1 - self.clean_fraction - 1e-9
