"""The loaders of a run, and its data set as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from loaders.augment.config import Augment
from loaders.formats.manifest import Manifest
from loaders.loader import Loader, make_loader
from loaders.types import EpochPlan
from training.config import Config
from training.coreset.file import Coreset
from training.data.manifest import data_digest, split_files
from training.machine.distributed import Ranks


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, and the loaders that deliver it.

    Attributes:
        manifest: what the data set holds.
        train_loader: augmented and mixed.
        clean_loader: not mixed, for the end of a run; `train_loader` itself where nothing is mixed.
        test_loader: only normalised.
        eval_split: the split that the run is tested on.
        coreset: the part of the training set that is trained on, or None.
        held_out: ids of the training set that are held out for validation, or None.
    """

    manifest: Manifest
    train_loader: Loader
    clean_loader: Loader
    test_loader: Loader
    eval_split: str = "test"
    coreset: Coreset | None = None
    held_out: np.ndarray | None = None

    @property
    def num_samples(self) -> int:
        """Samples of the training set."""
        return self.manifest.splits["train"].num_samples

    @property
    def tested_split(self) -> str:
        """What the run is tested on: "test", "val", or "validation" where part of the training set is held out."""
        return self.eval_split if self.held_out is None else "validation"

    def tested_plan(self, ranks: Ranks) -> EpochPlan:
        """Every tested sample once; this rank's part of them."""
        if self.held_out is None:
            return whole_split(self.manifest.splits[self.eval_split].num_samples, ranks)
        return EpochPlan(self.held_out[ranks.shard(len(self.held_out))])

    @property
    def digest(self) -> str:
        """Tells whether two runs saw the same data (see `data_digest`)."""
        return data_digest(self.manifest, self.coreset)


def open_loader(config: Config, device: torch.device, split: str, augment: Augment, batch_size: int) -> Loader:
    """The loader of a split, `batch_size` samples of this rank at a time."""
    return make_loader(
        split_files(config.data, split), batch_size, backend=config.backend, device=device, augment=augment
    )


def warm_up(loader: Loader, batch_size: int) -> None:
    """Draw one batch and drop it, so that what the loader compiles or opens is not on the training clock."""
    for _ in loader.epoch(EpochPlan(np.zeros(batch_size, np.int64))):
        break


def whole_split(num_samples: int, ranks: Ranks = Ranks()) -> EpochPlan:  # noqa: B008 (frozen)
    """Every sample once, in the order of the file; this rank's part of them."""
    return EpochPlan(ranks.shard(num_samples))
