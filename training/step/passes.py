"""Forward passes: that of a step, and those that a method asks for while it chooses within a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loaders.order.rng import NETWORK, fold_in
from loaders.types import Batch
from training.machine.precision import Precision
from training.models.build import features_of

if TYPE_CHECKING:
    from training.state import Run


@contextmanager
def keyed_layers(run: Run) -> Iterator[None]:
    """Layers that draw, such as dropout, draw by the run's seed and step in the block: a resumed run draws alike.

    They know torch's global generator only, which is as it was when the block ends.
    """
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # noqa: TID251
        torch.manual_seed(fold_in(run.config.seed, NETWORK, run.ledger.steps, run.ranks.rank))  # noqa: TID251
        yield


def forward(model: nn.Module, images_BCHW: Tensor, precision: Precision, size: int | None = None) -> Tensor:
    """Logits [B, C] of images that the network sees at height and width `size`; None is their own."""
    images_BCHW = resized(images_BCHW, size)
    with precision.autocast(images_BCHW.device):
        return model(images_BCHW)


def resized(images_BCHW: Tensor, size: int | None) -> Tensor:
    """The images at height and width `size`; None is their own."""
    if size is None or images_BCHW.shape[2:] == (size, size):
        return images_BCHW
    return F.interpolate(images_BCHW, size=(size, size), mode="area")


class Passes:
    """What a method asks of its run while it chooses within a batch (`training.methods.base.Scorer`).

    Passes for scores are made in evaluation mode, over images as large as a step would see them; each is paid.

    Attributes:
        progress: how far the run is, in [0, 1] (`Budget.progress`).
    """

    def __init__(self, run: Run):
        self.progress, self._run = run.progress, run
        self._size = run.schedule.image_size(self.progress)

    def __call__(self, batch: Batch) -> Tensor:
        """The logits of a batch, [B, C]."""
        run = self._run
        run.ledger.add_scoring(len(batch.images), self.forward_flops)
        run.model.eval()
        logits_BC = forward(run.model, batch.images, run.precision, self._size)
        run.model.train()
        return logits_BC

    def with_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits, and the features [B, D] that the network's last linear layer makes them of."""
        with features_of(self._run.model) as latest:
            return self(batch), latest["features"]

    @property
    def forward_flops(self) -> float:
        """FLOPs of a forward pass over one image."""
        return self._run.flops[self._size].forward

    def sized(self, images_BCHW: Tensor) -> Tensor:
        """The images as large as a step would see them."""
        return resized(images_BCHW, self._size)

    def logits(self, network: nn.Module, images_BCHW: Tensor) -> Tensor:
        """The logits of another network, [B, C]."""
        return forward(network, images_BCHW, self._run.precision)

    def rate(self, base_lr: float) -> float:
        """The learning rate by the run's schedule."""
        return self._run.schedule.rate(self.progress, base_lr)

    def pay(self, num_forward: int, num_backward: int, flops: float) -> None:
        """Charge the run for passes of another network."""
        self._run.ledger.add_passes(num_forward, num_backward, flops)
