"""Proxy filter: of each batch, the images that a small network, which trains beside the large one, gets most wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loaders.order.rng import INIT, fold_in
from loaders.types import Batch, EpochPlan
from training.ledger import Flops, count_flops
from training.methods.base import Context, Scorer
from training.methods.within_batch.gathering import GatheringMethod, KeepOptions
from training.methods.within_batch.random_batch import even_fraction
from training.optim.build import build_optimizers
from training.step import batch_ops
from training.step.losses import batch_loss, sample_losses


@dataclass(frozen=True)
class ProxyFilterOptions(KeepOptions):
    """the small network, how many images stay, and how samples are drawn

    Args:
        keep: fraction of the images of a batch that it is trained on; the budget when not given
        proxy_width: channels of the small network, as a fraction of the large one's
        proxy_every: the small network makes a step on one batch of so many
    """

    proxy_width: float = 0.25
    proxy_every: int = 4

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.proxy_width < 1:
            raise ValueError(f"proxy_width is above 0 and below 1, got {self.proxy_width:g}")
        if self.proxy_every < 1:
            raise ValueError(f"proxy_every is at least 1, got {self.proxy_every}")


class ProxyFilter(GatheringMethod):
    """A small network passes over every image; those of its largest losses stay, and now and then it makes a step on
    them too (Jordan, airbench96_faster, 2024, which trains it first and then replays its choice)."""

    Options = ProxyFilterOptions
    makes_passes = True

    def __init__(self, options: ProxyFilterOptions, context: Context):
        config = context.config
        super().__init__(options.keep, options.design, context)
        if config.precision == "fp16":
            raise ValueError("method proxy-filter trains its small network without loss scaling: take bf16 or fp32")
        assert context.make_network is not None
        self.proxy = context.make_network(config.width * options.proxy_width, fold_in(config.seed, INIT, 1))
        self.optimizers = build_optimizers(self.proxy, config)
        self.label_smoothing, self.every = config.label_smoothing, options.proxy_every
        self.batches = 0  # that it has seen
        self.flops: dict[tuple[int, ...], Flops] = {}  # of its passes, by the shape of an image

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        batch = batch_ops.own(batch)
        positions = self.filter(batch, even_fraction(self.keep_fraction, len(batch.images), index), score)
        return self.gather(batch_ops.take(batch, positions))

    def filter(self, batch: Batch, num: int, score: Scorer) -> Tensor:
        """The positions of the `num` largest losses of the small network, int64 [num]; it learns from them at times.

        Args:
            batch: made by `batch_ops.own`.
        """
        learns = self.batches % self.every == 0 and num > 0
        images_BCHW = score.sized(batch.images)
        self.proxy.train()  # in each of its passes, as theirs
        with torch.set_grad_enabled(learns):
            logits_BC = score.logits(self.proxy, images_BCHW)
            losses_B = sample_losses(logits_BC, batch.labels, batch.mix, self.label_smoothing)
            positions = losses_B.detach().topk(num).indices
            if learns:
                weights_B = None if batch.weights is None else batch.weights[positions]
                self._step(batch_loss(losses_B[positions], weights_B), score)
        self.batches += 1
        self._pay(tuple(images_BCHW.shape[1:]), len(batch.images), learns, score)
        return positions

    def _step(self, loss: Tensor, score: Scorer) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = score.rate(group["base_lr"])
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def _pay(self, shape: tuple[int, ...], num_images: int, learns: bool, score: Scorer) -> None:
        """A backward pass is charged for the whole batch, as in the large network: batch norm ties it together.

        Raises:
            ValueError: the small network costs so much that a budget in FLOPs could be exceeded.
        """
        if shape not in self.flops:
            channels, height, width = shape
            self.flops[shape] = count_flops(self.proxy, (channels, height, width))
            if self.flops[shape].step > score.forward_flops:
                raise ValueError(
                    f"a step of the small network of proxy-filter takes {self.flops[shape].step:.3g} FLOPs an image, "
                    f"more than the large one's forward pass ({score.forward_flops:.3g}): lower --proxy_width"
                )
        flops = self.flops[shape]
        score.pay(num_images, learns * num_images, num_images * (flops.step if learns else flops.forward))

    def describe(self) -> dict[str, float]:
        return {"proxy_batches": self.batches}

    def state_dict(self) -> dict[str, Any]:
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        mine = {"proxy": self.proxy.state_dict(), "optimizers": optimizers, "batches": self.batches}
        return {**super().state_dict(), **mine}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.proxy.load_state_dict(state["proxy"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.batches = state["batches"]
