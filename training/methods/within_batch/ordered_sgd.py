"""Ordered SGD: a step descends on the largest losses of its batch only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loaders.types import Batch
from training.machine.distributed import Ranks
from training.methods.base import Context, Method
from training.methods.within_batch.gathering import KeepOptions
from training.step import batch_ops


@dataclass(frozen=True)
class OrderedSGDOptions(KeepOptions):
    """how many losses count, and how samples are drawn

    Args:
        keep: fraction of the images of a batch that is descended on; when not given, what the training accuracy says
    """


class OrderedSGD(Method):
    """The mean of the q largest losses of a batch; q is halved as the training accuracy rises, and never grows again
    (Kawaguchi and Lu, "Ordered SGD", AISTATS 2020)."""

    Options = OrderedSGDOptions

    def __init__(self, options: OrderedSGDOptions, context: Context):
        super().__init__(context.scheduler(design=options.design))
        self.keep_fraction = options.keep
        self.batch_size = context.config.batch_size // context.ranks.world_size
        self.hits = torch.zeros(2, dtype=torch.float64, device=context.device)  # right answers of the epoch, answers
        self.accuracy = 0.0  # of training in the epoch before
        self.best = 0.0  # of all epochs before

    def keep(self, batch: Batch, logits_BC: Tensor, losses_B: Tensor) -> Tensor | None:
        labels_B = batch_ops.main_labels(batch)
        self.hits[0] += (logits_BC.argmax(1) == labels_B).sum()
        self.hits[1] += len(labels_B)
        q = self.num_largest()
        return None if q == self.batch_size else largest(losses_B, q)

    def num_largest(self) -> int:
        """q, the number of losses that a step descends on."""
        if self.keep_fraction is None:
            return num_largest(self.batch_size, self.best)
        return max(1, round(self.keep_fraction * self.batch_size))

    def did_not_choose(self) -> str | None:
        if self.num_largest() < self.batch_size:
            return None
        return (
            f"ordered-sgd descended on whole batches: training accuracy stayed below 0.8 (at best {self.best:.3f}), "
            "where it begins to choose (--keep chooses from the start)"
        )

    def describe(self) -> dict[str, float]:
        return {"train_accuracy": self.accuracy, "num_largest": self.num_largest()}

    def end_epoch(self, ranks: Ranks) -> None:
        right, num = ranks.all_reduce(self.hits).tolist()
        self.accuracy = right / num if num else self.accuracy
        self.best = max(self.best, self.accuracy)
        self.hits.zero_()

    def merge(self, ranks: Ranks) -> None:
        ranks.reduce_to_writer(self.hits)

    def forget_sums(self) -> None:
        self.hits.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {"hits": self.hits, "accuracy": self.accuracy, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.hits.copy_(state["hits"])
        self.accuracy, self.best = state["accuracy"], state["best"]


def num_largest(batch_size: int, accuracy: float) -> int:
    """q by the training accuracy, a fraction from 0 to 1: the rule of Kawaguchi and Lu (2020), section 5."""
    halvings = {0.8: 2, 0.9: 4, 0.95: 8, 0.995: 16}
    return max(1, batch_size // max((d for threshold, d in halvings.items() if accuracy >= threshold), default=1))


def largest(losses_B: Tensor, q: int) -> Tensor:
    """The positions of the q largest losses, int64 [q]."""
    return losses_B.topk(q).indices
