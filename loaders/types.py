"""The values that pass between the parts: the plan of an epoch, its batches, the scores of their samples."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EpochPlan:
    """The order of one epoch.

    Attributes:
        ids: int64 [K], a read-only copy. An id that occurs twice is delivered twice.
        weights: float32 [K] or None, factors of the samples' losses. Their expected mean is one, but N / K for the
            policy "infobatch", as published.
        epoch: number of the epoch that this plan is for.
        key: 64-bit key of the epoch's augmentation; any integer, taken modulo 2**64.
        rank, world_size: this plan holds the positions rank, rank + world_size, ... of the global plan.
        run_key: 64-bit key of what an image keeps over all epochs of a run (the coin of an alternating flip); as `key`.

    Raises:
        ValueError: `ids` are no integers, or `ids` or `weights` have more than one axis or unequal lengths.
    """

    ids: np.ndarray
    weights: np.ndarray | None = None
    epoch: int = 0
    key: int = 0
    rank: int = 0
    world_size: int = 1
    run_key: int = 0

    def __post_init__(self) -> None:
        for name, dtype in (("ids", np.int64), ("weights", np.float32)):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value)
            if name == "ids" and array.size and array.dtype.kind not in "iu":
                remedy = (
                    "of a mask take np.flatnonzero" if array.dtype == bool else "convert them with .astype(np.int64)"
                )
                raise ValueError(f"ids of a plan are integers, got {array.dtype}: {remedy}")
            if array.ndim != 1:
                raise ValueError(f"{name} of a plan must have one axis, got shape {array.shape}")
            array = array.astype(dtype, order="C")  # a copy: the caller may go on to change what was given
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        for name in ("key", "run_key"):
            object.__setattr__(self, name, int(getattr(self, name)) % 2**64)
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError(
                f"a plan has one weight for each id, or none: got {len(self.ids)} ids and {len(self.weights)} weights"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positions(self) -> np.ndarray:
        """int64 [K]: the place of each sample in the global plan, which keys its random augmentation."""
        return self.rank + self.world_size * np.arange(len(self.ids), dtype=np.int64)

    def shard(self, rank: int, world_size: int) -> EpochPlan:
        """The plan of one rank: positions rank::world_size, cut so that all ranks have equal length.

        Raises:
            ValueError: this plan is a shard itself, or the rank is not below `world_size`.
        """
        if self.world_size != 1:
            raise ValueError(f"this plan is already the shard {self.rank} of {self.world_size}: shard the global plan")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
        end = len(self.ids) // world_size * world_size
        weights = None if self.weights is None else self.weights[rank:end:world_size]
        ids = self.ids[rank:end:world_size]
        return EpochPlan(ids, weights, self.epoch, self.key, rank, world_size, self.run_key)


class Mix(NamedTuple):
    """How the images of a mixed batch (Mixup, CutMix, RICAP) were made of P images each.

    Attributes:
        partners: int64 [B, P], positions in the batch of the images that make up each mixed image; None once training
            has taken images out of their batch (see `Batch`).
        shares: float32 [P] or [B, P], the fraction of the mixed image that each partner takes; they sum to one over P.
    """

    partners: Tensor | None
    shares: Tensor


class Batch(NamedTuple):
    """One batch on the device.

    Attributes:
        images: [B, C, H, W], channels-last, C is 3, or 1 of grey images; the dtype that the loader was made with.
        labels: int64 [B].
        ids: int64 [B].
        weights: float32 [B], those of the plan, or None.
        mix: how mixed images were made, or None.

    Mixed images that training takes out of their batch carry the labels and ids of all their partners: int64 [B, P]
    each, with `mix.partners` None and `mix.shares` [B, P].
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    weights: Tensor | None = None
    mix: Mix | None = None


class Backend(Protocol):
    """Delivers the batches of one data set in the order of any plan."""

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """The batches of a plan, from `start_batch` on. Closing the generator frees its threads and buffers.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        ...


class Snapshot(NamedTuple):
    """What an importance table knows at the end of an epoch: read-only NumPy arrays, float32 [N], one entry per sample.

    The error of a sample is 1 - p(true class). All fields of a sample that was never visited are zero; those of a score
    that training does not record (`Scores(loss=...)` alone) are NaN.

    Attributes:
        visits: how often it was trained on; a mixed image counts for each partner as its fraction (`Mix.shares`).
        mean_error: mean error over all visits.
        error: mean error in the latest epoch with a visit.
        loss: mean loss in that epoch.
        el2n: mean of |softmax - onehot|_2 in that epoch (Paul et al., "Deep learning on a data diet", NeurIPS 2021).
        error_variance: variance of the error over all visits, which is that of p(true class) too.
        error_average: exponential moving average of the error over the epochs with a visit.
    """

    visits: np.ndarray
    mean_error: np.ndarray
    error: np.ndarray
    loss: np.ndarray
    el2n: np.ndarray
    error_variance: np.ndarray
    error_average: np.ndarray


class Scores(NamedTuple):
    """Scores of the samples of one batch: float32 [B] each, on the training device.

    `loaders.scores` makes all three from logits and labels. Policies that read one need only that: `Scores(loss=...)`.

    Attributes:
        error: 1 - p(true class).
        loss: the training loss.
        el2n: |softmax - onehot|_2.
    """

    # None is only for `ImportanceTable.record`; who reads scores reads those that were made whole.
    error: Tensor = None  # pyright: ignore[reportAssignmentType]
    loss: Tensor = None  # pyright: ignore[reportAssignmentType]
    el2n: Tensor = None  # pyright: ignore[reportAssignmentType]
