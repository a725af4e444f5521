"""RandAugment in two named versions: which operations are applied to an image, and with which numbers.

Each round draws one operation, uniformly and with replacement, and a sign. `operations` lists an operation with the
number that it takes for either sign, in the units of Pillow's call (see `loaders.backends.reference.apply_operation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

BINS = 30  # the largest magnitude
ROUNDS = 12  # at most
GREY = (125, 123, 114)  # red, green, blue of CutoutAbs
# Draw indices of round r: `draws.RANDAUGMENT` + 4 r + one of these.
OPERATION, SIGN, TOP, LEFT = range(4)


@dataclass(frozen=True)
class RandAugment:
    """n random operations of magnitude m (Cubuk et al. 2020), before anything else is done to the image.

    Attributes:
        n: operations an image, 1 to 12.
        m: magnitude, 0 to 30.
        version: "standard": 14 operations, one of them the identity, signs at random: those of torchvision's
            RandAugment with 31 bins. "arazo": the 16 operations of Arazo et al.'s code, oddities included.
    """

    n: int = 2
    m: int = 9
    version: str = "standard"

    def __post_init__(self):
        if not (isinstance(self.n, int) and 1 <= self.n <= ROUNDS):
            raise ValueError(f"n of RandAugment is a number of operations, 1 to {ROUNDS}, got {self.n!r}")
        if not (isinstance(self.m, int) and 0 <= self.m <= BINS):
            raise ValueError(f"m of RandAugment is a whole number, 0 to {BINS}, got {self.m!r}")
        if self.version not in _VERSIONS:
            raise ValueError(f"version of RandAugment is 'standard' or 'arazo', got {self.version!r}")


class Operation(NamedTuple):
    """One operation: its name, and its number for each sign (equal where the sign does not matter)."""

    name: str
    plus: float
    minus: float


def operations(randaugment: RandAugment, height: int, width: int) -> tuple[Operation, ...]:
    """List the operations that a round chooses from, for images of `height` x `width` pixels."""
    return _VERSIONS[randaugment.version](randaugment.m, height, width)


def _standard(m: int, height: int, width: int) -> tuple[Operation, ...]:
    part = m / BINS
    return (
        Operation("Identity", 0, 0),
        _signed("ShearX", 0.3 * part),
        _signed("ShearY", 0.3 * part),
        _signed("TranslateX", 150 * width * m // (331 * BINS)),
        _signed("TranslateY", 150 * height * m // (331 * BINS)),
        _signed("Rotate", float(m)),
        *(Operation(name, 1 + 0.9 * part, 1 - 0.9 * part) for name in ("Brightness", "Color", "Contrast", "Sharpness")),
        _plain("Posterize", 8 - round(4 * part)),
        _plain("Solarize", 255 - 8.5 * m),
        _plain("AutoContrast", 0),
        _plain("Equalize", 0),
    )


def _arazo(m: int, height: int, width: int) -> tuple[Operation, ...]:
    def between(low: float, high: float) -> float:
        return m / BINS * (high - low) + low

    return (
        _plain("AutoContrast", 0),
        _plain("Equalize", 0),
        _plain("Invert", 0),
        _signed("Rotate", between(0, 30)),
        _plain("Posterize", max(1, int(between(0, 4)))),
        _plain("Solarize", between(0, 256)),
        _plain("SolarizeAdd", between(0, 110)),
        *(_plain(name, between(0.1, 1.9)) for name in ("Color", "Contrast", "Brightness", "Sharpness")),
        _signed("ShearX", between(0, 0.3)),
        _signed("ShearY", between(0, 0.3)),
        _plain("CutoutAbs", between(0, 40)),
        _signed("TranslateX", between(0, 100)),
        _signed("TranslateY", between(0, 100)),
    )


def _plain(name: str, value: float) -> Operation:
    return Operation(name, value, value)


def _signed(name: str, value: float) -> Operation:
    return Operation(name, value, -value)


_VERSIONS = {"standard": _standard, "arazo": _arazo}
