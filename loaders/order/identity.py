"""What an order depends on, as a few plain values that are saved with a position in it."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from .policy_parts import FixedWeights
from .scheduler import IndexScheduler


def order_of(scheduler: IndexScheduler) -> dict[str, str | float | None]:
    """The settings of a scheduler by name: arrays as a checksum, a function of one's own as its name."""
    return {field.name: _plain(getattr(scheduler, field.name)) for field in dataclasses.fields(scheduler)}


def changed(then: dict[str, str | float | None], now: dict[str, str | float | None]) -> str:
    """What differs, as "seed was 3 and is now 9, ..."; "" where nothing does."""
    return ", ".join(
        f"{name} was {then[name]} and is now {now[name]}" for name in now if then.get(name, now[name]) != now[name]
    )


def _plain(value: object) -> str | float | None:
    if isinstance(value, FixedWeights):
        value = value.weights
    if isinstance(value, np.ndarray):
        return f"{len(value)} numbers with checksum {zlib.crc32(value.tobytes()):08x}"
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)
