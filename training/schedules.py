"""What changes as the budget is spent: rates, image sizes, averaging, mixing. Pure functions of progress."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass


def linear(progress: float, start: float, end: float, until: float = 1.0) -> float:
    """From `start` at progress 0 to `end` at progress `until`; `end` from there on.

    Args:
        progress: in [0, 1], before the step about to be taken. With `until` 1 the end is reached after the last step,
            which still learns; with `until` the progress before the last step, that step takes `end`: entry k of
            `linspace(start, end, n)` is the value at progress k / n with `until` (n - 1) / n.
        until: in (0, 1]; 0 is a run of one step, which takes `start`.

    Raises:
        ValueError: a progress or an `until` out of range.
    """
    if not 0 <= progress <= 1 or not 0 <= until <= 1:
        raise ValueError(f"linear got progress={progress}, until={until}: both are fractions from 0 to 1")
    if progress == 0:
        return start
    return end if progress >= until else start + (end - start) * (progress / until)


def cosine(progress: float, start: float, end: float) -> float:
    """Half a cosine wave from `start` at progress 0 to `end` at progress 1."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def step(progress: float, start: float, milestones: tuple[float, ...], gamma: float) -> float:
    """`start`, times `gamma` for each milestone that is reached."""
    return start * gamma ** sum(progress >= at - 1e-9 for at in milestones)


@dataclass(frozen=True)
class Schedule:
    """What a step does, as a pure function of progress before it: how far the run is (`Budget.progress`).

    Attributes:
        final_lr: learning rate at the end.
        until: progress at which `final_lr` is reached (see `linear`).
        sizes: height and width of the images in equal parts of the budget; empty is their own size throughout.
        clean_fraction: last fraction of the budget, in which images are not mixed.
        ema: decay per step of the averaged weights, once many steps are made; 0 is no average.
        kind: "linear", "cosine" or "step": how the learning rates fall.
        milestones, gamma: see `step`.
    """

    final_lr: float = 0.0
    until: float = 1.0
    sizes: tuple[int, ...] = ()
    clean_fraction: float = 0.0
    ema: float = 0.0
    kind: str = "linear"
    milestones: tuple[float, ...] = ()
    gamma: float = 1.0

    def rate(self, progress: float, base_lr: float) -> float:
        """Learning rate, from `base_lr` at the first step."""
        if self.kind == "step":
            return step(progress, base_lr, self.milestones, self.gamma)
        if self.kind == "cosine":
            return cosine(progress, base_lr, self.final_lr)
        return linear(progress, base_lr, self.final_lr, self.until)

    def image_size(self, progress: float) -> int | None:
        """Height and width of the images; None is their own size."""
        return self.sizes[min(int(progress * len(self.sizes) + 1e-9), len(self.sizes) - 1)] if self.sizes else None

    def work(self, progress: float, cost: Callable[[int | None], float]) -> float:
        """Fraction of a run's work that is done when a fraction of its steps is: steps on small images are cheap.

        Args:
            progress: fraction of the steps, in [0, 1].
            cost: of a step, by the images' size.
        """
        sizes = self.sizes or (None,)
        costs = [cost(size) for size in sizes]
        parts = [min(max(progress * len(sizes) - place, 0.0), 1.0) for place in range(len(sizes))]
        return sum(map(operator.mul, costs, parts)) / sum(costs)

    def decay(self, steps: int) -> float:
        """Decay of the averaged weights after so many steps.

        It is less than `ema` at first, so that a short run can forget where it began (as TensorFlow's moving averages).
        """
        return min(self.ema, (1 + steps) / (10 + steps))

    def is_clean(self, progress: float) -> bool:
        """Whether images are no longer mixed."""
        return progress >= 1 - self.clean_fraction - 1e-9
