"""A function of one's own on every batch, with a key that makes its random numbers repeatable."""

import contextlib
from collections.abc import Callable, Generator

from .order.rng import TRANSFORM, fold_in
from .types import Batch, EpochPlan

# (batch, key) -> the batch that is delivered; the key is 64 bits, a function of (seed, epoch, place in the epoch).
BatchTransform = Callable[[Batch, int], Batch]


def transformed(batches: Generator[Batch], transform: BatchTransform, plan: EpochPlan, first: int) -> Generator[Batch]:
    """Yield what the function makes of each batch, called where the batch is asked for, on the current stream.

    Args:
        first: place in the plan of the first batch's first sample.

    Raises:
        ValueError: as `apply`.
    """
    with contextlib.closing(batches):
        for batch in batches:
            made = apply(transform, batch, plan, first)
            first += len(batch.ids)
            del batch
            yield made
            del made


def apply(transform: BatchTransform, batch: Batch, plan: EpochPlan, first: int) -> Batch:
    """What the function makes of one batch, whose first sample has the place `first` in the plan.

    Raises:
        ValueError: the function returns no Batch, or one of another number of samples. Its own errors pass.
    """
    num = len(batch.ids)
    made = transform(batch, fold_in(plan.key, TRANSFORM, plan.rank + plan.world_size * first))
    sizes = {len(part) for part in made[:4] if part is not None} if isinstance(made, Batch) else set[int]()
    if sizes != {num}:
        what = f"one of {' and '.join(map(str, sorted(sizes)))} samples" if sizes else type(made).__name__
        raise ValueError(
            f"batch_transform returns a Batch of as many samples as it was given, {num}, such as "
            f"batch._replace(images=...), got {what}"
        )
    return made
