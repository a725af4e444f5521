"""Where images are bfloat16 and what is multiplied is int16 (see `formats`). Knows no tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from training.cpu.team import has_products

_whole_factors = ContextVar("whole_factors", default=False)


@contextmanager
def whole_factors() -> Iterator[None]:
    """Inside, convolutions of bfloat16 round what they multiply to int16, in the gradient too."""
    token = _whole_factors.set(True)
    try:
        yield
    finally:
        _whole_factors.reset(token)


def uses_whole_factors() -> bool:
    """Whether this is inside."""
    return _whole_factors.get()


def factors_of(images: torch.dtype) -> torch.dtype:
    """What images of a type are multiplied as."""
    return torch.int16 if _whole_factors.get() and images == torch.bfloat16 else images


def takes_images(images: torch.dtype) -> bool:
    """Whether the compiled layers are for images of a type, on this processor and here."""
    return has_products(factors_of(images))
