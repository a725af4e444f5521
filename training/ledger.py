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

from loaders.diagnostics import describe_visits


@dataclass
class Ledger:
    """Running totals.

    Attributes:
        num_samples: N, the size of the training set.
        visits: int64 [N], how often each sample was drawn.
        steps: optimiser steps.
        samples: samples drawn for training, repeats counted.
        forward_samples, backward_samples: samples that went through a forward, a backward pass (scoring included).
        flops: floating-point operations of these passes; a multiply-add counts as two.
        *_seconds: plan is choosing the samples, data is waiting for batches, scoring is passes made for scores alone
            (zero when they come from the training forward), train is everything that training took, these included;
            evaluation and checkpoints are outside.
    """

    num_samples: int
    visits: np.ndarray = field(init=False)
    steps: int = 0
    samples: int = 0
    forward_samples: int = 0
    backward_samples: int = 0
    flops: float = 0.0
    plan_seconds: float = 0.0
    data_seconds: float = 0.0
    scoring_seconds: float = 0.0
    train_seconds: float = 0.0

    def __post_init__(self):
        self.visits = np.zeros(self.num_samples, np.int64)

    def add_step(self, ids_B: np.ndarray, flops_per_sample: float) -> None:
        """Count one training step: a forward and a backward pass over these ids (int64 [B])."""
        self.steps += 1
        self.samples += len(ids_B)
        self.forward_samples += len(ids_B)
        self.backward_samples += len(ids_B)
        self.flops += len(ids_B) * flops_per_sample
        np.add.at(self.visits, ids_B, 1)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the block's wall time to `<name>_seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = getattr(self, f"{name}_seconds") + time.perf_counter() - start
            setattr(self, f"{name}_seconds", seconds)

    def summary(self) -> dict:
        """The totals, with distinct samples, images per second and the spread of the visits."""
        values = {name: value for name, value in vars(self).items() if name != "visits"}
        return {
            **values,
            "distinct_samples": int((self.visits > 0).sum()),
            "images_per_second": self.samples / self.train_seconds if self.train_seconds else 0.0,
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
