"""Chosen images wait until a whole batch of them is together."""

from dataclasses import dataclass
from typing import Any

import torch

from loaders.types import Batch
from training.methods.base import Context, Design, DesignOption, Method
from training.step import batch_ops

KEEP_IN_SECONDS = 1 / 3
"""Fraction that is kept where neither an option nor the budget says one."""


@dataclass(frozen=True)
class KeepOptions(DesignOption):
    """how many images stay, and how samples are drawn

    Args:
        keep: fraction of the images of a batch that it is trained on; the budget when not given
    """

    keep: float | None = None

    def __post_init__(self):
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, got {self.keep:g}")


class GatheringMethod(Method):
    """Keeps a fraction of each batch and trains when a whole batch of kept images is together.

    An epoch offers all samples where the budget counts samples, so that the kept ones are the budget.

    Attributes:
        keep_fraction: of the images of a batch, in the mean.
        held: chosen images that wait for more, or None.
    """

    even_epochs = False

    def __init__(self, keep: float | None, design: Design, context: Context):
        config = context.config
        require_one_process(context)
        if keep is None:
            keep = KEEP_IN_SECONDS if config.budget_unit == "seconds" else config.budget
            if keep == 1:
                raise ValueError(
                    f"method {config.method} keeps a fraction of each batch: give --keep or a --budget below 1"
                )
        fraction = 1.0 if config.budget_unit == "samples" else context.fraction
        super().__init__(context.scheduler(fraction=fraction, design=design))
        self.keep_fraction, self.batch_size, self.device = keep, config.batch_size, context.device
        self.held: Batch | None = None

    def gather(self, chosen: Batch) -> Batch | None:
        """Add chosen images (made by `batch_ops.take`); a whole batch once there are enough."""
        whole, self.held = batch_ops.split(batch_ops.join(self.held, chosen), self.batch_size)
        return whole

    def state_dict(self) -> dict[str, Any]:
        return {"held": batch_ops.to_dict(self.held)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.held = batch_ops.from_dict(state["held"], self.device)


def require_one_process(context: Context) -> None:
    """Raises ValueError where several ranks would each gather their own batches."""
    if not context.ranks.is_alone:
        raise ValueError(
            f"method {context.config.method} gathers images from several batches in one process: "
            f"start it without torchrun, or choose ordered-sgd or a method that chooses once an epoch"
        )


def all_positions(batch: Batch) -> torch.Tensor:
    """0..B-1 on the batch's device, int64."""
    return torch.arange(len(batch.images), device=batch.images.device)
