"""The values that are handed from one part of the ring to the next. Nothing else passes between the packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EpochPlan:
    """The order of one epoch.

    Attributes:
        ids: int64 [K], read-only; repeats are allowed and come back repeated.
        weights: float32 [K] or None, importance weights whose expected mean is one (of InfoBatch, as published, N / K).
        epoch: the epoch that this plan is for.
        key: 64-bit key for the epoch's augmentation.
        rank, world_size: this plan holds the global positions rank, rank + world_size, ...
    """

    ids: np.ndarray
    weights: np.ndarray | None = None
    epoch: int = 0
    key: int = 0
    rank: int = 0
    world_size: int = 1

    def __post_init__(self):
        for name, dtype in (("ids", np.int64), ("weights", np.float32)):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(value, dtype=dtype, order="C", copy=None)
            if array.ndim != 1:
                raise ValueError(f"{name} of a plan must have one axis, got shape {array.shape}")
            array = array.view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError(f"a plan has {len(self.ids)} ids but {len(self.weights)} weights")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positions(self) -> np.ndarray:
        """int64 [K]: the place of each sample in the global plan; the augmentation draws are keyed by it."""
        return self.rank + self.world_size * np.arange(len(self.ids), dtype=np.int64)

    def shard(self, rank: int, world_size: int) -> EpochPlan:
        """The plan of one rank: positions rank::world_size, cut so that all ranks have equal length."""
        if self.world_size != 1:
            raise ValueError(f"this plan is already the shard {self.rank} of {self.world_size}: shard the global plan")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
        end = len(self.ids) // world_size * world_size
        weights = None if self.weights is None else self.weights[rank:end:world_size]
        return EpochPlan(self.ids[rank:end:world_size], weights, self.epoch, self.key, rank, world_size)


class Mix(NamedTuple):
    """How the images of a mixed batch were put together.

    `partners` int64 [B, P]: positions in the batch; None once the images have left it (see `Batch`). `shares` float32
    [P] or [B, P], summing to one over P.
    """

    partners: Tensor | None
    shares: Tensor


class Batch(NamedTuple):
    """One batch on the device: images [B, 3, H, W] channels-last, labels int64 [B], ids int64 [B].

    Loaders deliver just that. Mixed images that training takes out of their batch carry the labels and ids of their
    partners themselves, int64 [B, P] each, beside shares [B, P].
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    weights: Tensor | None = None
    mix: Mix | None = None


class Snapshot(NamedTuple):
    """What an importance table knows at the end of an epoch; NumPy arrays, one entry per sample.

    `visits` counts a mixed sample by its share. For a sample never visited the other fields are zero.
    `error` is 1 - p(true class).
    """

    visits: np.ndarray  # float32 [N]
    mean_error: np.ndarray  # float32 [N], over all visits
    error: np.ndarray  # float32 [N], at the latest epoch with a visit; so too the next two
    loss: np.ndarray  # float32 [N]
    el2n: np.ndarray  # float32 [N], |softmax - onehot|_2
    error_variance: np.ndarray  # float32 [N], over all visits; that of the true class's probability too
    error_average: np.ndarray  # float32 [N], moving average over the epochs with a visit, older ones decaying


class Scores(NamedTuple):
    """Per-sample scores of one batch, float32 [B] each, on the training device."""

    error: Tensor
    loss: Tensor
    el2n: Tensor
