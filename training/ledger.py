"""What a run has spent: samples, passes, FLOPs and seconds, counted as they happen.

Knows counts only; must not know how they are shown. Goes into the checkpoint, so a resumed run goes on counting.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from loaders.order.diagnostics import describe_visits


@dataclass
class Ledger:
    """Running totals.

    Attributes:
        num_samples: N, the size of the training set.
        visits: int64 [N], how often each sample was trained on. Of a mixed batch as it was drawn; a mixed image that
            was chosen alone is a visit of the sample that fills most of it.
        steps: optimiser steps.
        samples: samples trained on, repeats counted.
        forward_samples, backward_samples: samples that went through a forward, a backward pass (scoring included).
        covered_samples: samples of the passes over all data that the epochs so far, ended ones, stand for: a plan that
            leaves a third of them out covers them all.
        flops: floating-point operations of these passes; a multiply-add counts as two.
        coreset_flops, coreset_seconds: what was charged for choosing a core-set; flops and train include them.
        *_seconds: plan is choosing the samples of an epoch, data is waiting for batches, scoring is choosing within
            them, with the passes made for scores alone (on a GPU these are only waited for where the host needs their
            result), train is everything that training took, these included; evaluation and checkpoints are outside.
    """

    num_samples: int
    visits: np.ndarray = field(init=False)
    steps: int = 0
    samples: int = 0
    forward_samples: int = 0
    backward_samples: int = 0
    covered_samples: float = 0.0
    flops: float = 0.0
    plan_seconds: float = 0.0
    data_seconds: float = 0.0
    scoring_seconds: float = 0.0
    coreset_flops: float = 0.0
    coreset_seconds: float = 0.0
    train_seconds: float = 0.0

    def __post_init__(self):
        self.visits = np.zeros(self.num_samples, np.int64)

    def add_step(self, ids_B: np.ndarray, flops_per_sample: float) -> None:
        """Count one training step: a forward and a backward pass over these ids (int64 [B])."""
        self.add_chosen_step(len(ids_B), len(ids_B), flops_per_sample)
        np.add.at(self.visits, ids_B, 1)

    def add_chosen_step(self, num_samples: int, num_passed: int, flops_per_sample: float) -> None:
        """Count a step on `num_samples` images for which `num_passed` went through both passes; `visits` follow."""
        self.steps += 1
        self.samples += num_samples
        self.forward_samples += num_passed
        self.backward_samples += num_passed
        self.flops += num_passed * flops_per_sample

    def add_scoring(self, num_samples: int, flops_per_sample: float) -> None:
        """Count a forward pass for scores alone."""
        self.forward_samples += num_samples
        self.flops += num_samples * flops_per_sample

    def charge(self, forward_samples: int, backward_samples: int, flops: float, seconds: float) -> None:
        """Count what choosing a core-set took, before the first step."""
        self.forward_samples += forward_samples
        self.backward_samples += backward_samples
        self.flops += flops
        self.train_seconds += seconds
        self.coreset_flops += flops
        self.coreset_seconds += seconds

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the block's wall time to `<name>_seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = getattr(self, f"{name}_seconds") + time.perf_counter() - start
            setattr(self, f"{name}_seconds", seconds)

    @property
    def saved_fraction(self) -> float:
        """Share of the covered samples that was not trained on: what InfoBatch saves."""
        return 1 - self.samples / self.covered_samples if self.covered_samples else 0.0

    def summary(self) -> dict:
        """The totals, with distinct samples, images per second and the spread of the visits."""
        values = {name: value for name, value in vars(self).items() if name != "visits"}
        seconds = self.train_seconds - self.coreset_seconds
        return {
            **values,
            "distinct_samples": int((self.visits > 0).sum()),
            "images_per_second": self.samples / seconds if seconds else 0.0,
            "visits": describe_visits(self.visits),
        }

    def state_dict(self) -> dict:
        """Numbers and one tensor, safe to load with `weights_only`."""
        return {**vars(self), "visits": torch.from_numpy(self.visits.copy())}

    def load_state_dict(self, state: dict) -> None:
        for name in vars(self):
            setattr(self, name, state[name])
        self.visits = state["visits"].numpy()


def count_flops(model: torch.nn.Module, image_shape: tuple[int, int, int]) -> tuple[float, float]:
    """FLOPs per sample of a forward pass, and of a forward with its backward pass, by torch's own counter.

    Runs a copy of the model without storage (the meta device): nothing is computed, no weight or statistic changes.

    Args:
        image_shape: C, H, W as the network gets it.
    """
    shadow = copy.deepcopy(model).to("meta").train()
    images = torch.empty(2, *image_shape, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:
        logits = shadow(images)
        forward = counter.get_total_flops()
        logits.float().sum().backward()
    return forward / len(images), counter.get_total_flops() / len(images)
