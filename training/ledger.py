"""What a run has spent: steps, samples, passes, FLOPs and seconds, counted as they happen."""

import copy
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from loaders.formats.sentence import one_line

T = TypeVar("T")
_END: Any = object()


@dataclass
class Ledger:
    """Running totals. They go into the checkpoint, so a resumed run goes on counting.

    Attributes:
        steps: optimiser steps.
        samples: samples trained on, repeats counted.
        forward_samples, backward_samples: samples that went through a forward, a backward pass (scoring included).
        covered_samples: samples of the whole passes over the data that the epochs so far stand for: a plan that leaves
            a third of the samples out stands for all of them.
        flops: floating-point operations of these passes; a multiply-add counts as two.
        coreset_flops, coreset_seconds: what was charged for choosing a core-set; flops and train_seconds include them.
        plan_seconds: choosing the samples of an epoch.
        data_seconds: waiting for batches.
        scoring_seconds: choosing within batches, with the passes made for scores alone (on a GPU these are only waited
            for where the host needs their result).
        train_seconds: all that training took, the above included; evaluation and checkpoints are outside.
    """

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

    def add_step(self, num_samples: int, num_passed: int, flops_per_sample: float) -> None:
        """Count a step on `num_samples` images, for which `num_passed` went through both passes."""
        self.steps += 1
        self.samples += num_samples
        self.forward_samples += num_passed
        self.backward_samples += num_passed
        self.flops += num_passed * flops_per_sample

    def add_scoring(self, num_samples: int, flops_per_sample: float) -> None:
        """Count a forward pass for scores alone."""
        self.add_passes(num_samples, 0, num_samples * flops_per_sample)

    def add_passes(self, num_forward: int, num_backward: int, flops: float) -> None:
        """Count passes of any network that are no step of the run."""
        self.forward_samples += num_forward
        self.backward_samples += num_backward
        self.flops += flops

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

    def timed(self, name: str, items: Iterable[T]) -> Generator[T, None, None]:
        """The same items; the time that making each of them takes is added to `<name>_seconds`."""
        iterator = iter(items)
        while True:
            with self.clock(name):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item

    @property
    def saved_fraction(self) -> float:
        """Fraction of the covered samples that was not trained on: what InfoBatch saves."""
        return 1 - self.samples / self.covered_samples if self.covered_samples else 0.0

    def summary(self) -> dict[str, float]:
        """The totals, and images per second of training."""
        seconds = self.train_seconds - self.coreset_seconds
        return {**vars(self), "images_per_second": self.samples / seconds if seconds else 0.0}

    def state_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return {**vars(self)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over what `state_dict` gave."""
        for name in vars(self):
            setattr(self, name, state[name])


class Flops(NamedTuple):
    """FLOPs per sample: of a forward pass, and of a forward with its backward pass."""

    forward: float
    step: float


def count_flops(model: nn.Module, shape_CHW: tuple[int, int, int]) -> Flops:
    """FLOPs per sample, by torch's own counter.

    Runs a copy of the model without storage (the meta device): nothing is computed, no weight or statistic changes.

    Args:
        shape_CHW: shape of an image as the network gets it.

    Raises:
        ValueError: a network of one's own does what that device cannot.
    """
    shadow = copy.deepcopy(model).to("meta").train()
    images = torch.empty(2, *shape_CHW, device="meta")
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.enable_grad():
            logits = shadow(images)
            forward = counter.get_total_flops()
            logits.float().sum().backward()
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"the FLOPs of the network cannot be counted ({one_line(error, 300)}): they are counted on torch's device "
            "meta, so let it make its tensors on the device of its input, and decide nothing by their values"
        ) from error
    return Flops(forward / len(images), counter.get_total_flops() / len(images))
