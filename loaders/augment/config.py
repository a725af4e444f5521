"""What happens to an image between the file and the batch: one frozen value."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .checks import is_number
from .color_jitter import ColorJitter
from .erasing import RandomErasing
from .mixers import RICAP, CutMix, Mixup
from .randaugment import RandAugment


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Augmentation of one image, in this order: cut a box and resize it, RandAugment, jitter its colours, pad and crop,
    flip, cut out, erase, normalise, mix.

    Attributes:
        resize: size in pixels of the square that the image becomes, so that images may vary in size; 0 is none.
        random_resized_crop: the smallest and the largest fraction of the image's area that the box takes, drawn at
            random as in torchvision's RandomResizedCrop; None takes a centred square. Both need `resize`.
        ratio: the smallest and the largest width / height of a random box.
        center_crop: size of the centred square as a fraction of the image's smaller dimension.
        randaugment: such as RandAugment(n=2, m=9): random operations before the image is cropped; None is none.
        color_jitter: such as ColorJitter(0.4, 0.4, 0.4): random brightness, contrast and saturation; None is none.
        crop_padding: pixels added to each edge before a random crop back to the image's size; 0 is no crop.
        pad_mode: "zero" or "reflect" (without repeating the edge).
        flip: mirror left to right with probability one half; or "alternating": with probability one half in epoch 0,
            and then the other way round in each next epoch, so that two epochs in a row show both sides of every image
            that both deliver (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.6).
        vertical_flip: mirror top to bottom with probability one half.
        cutout: size in pixels of a square set to zero (before normalisation), centred at a random pixel and cut at the
            borders (DeVries and Taylor 2017); 0 is none.
        erasing: such as RandomErasing(p=0.25): a random rectangle shows one colour or noise; None is none.
        mixer: mix the images of a batch, each augmented by its own draws: Mixup, CutMix or RICAP; None does not.
        mean, std: per channel, in units of [0, 1]; used for float outputs only: (pixel / 255 - mean) / std.
    """

    resize: int = 0
    random_resized_crop: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    center_crop: float = 1.0
    randaugment: RandAugment | None = None
    color_jitter: ColorJitter | None = None
    crop_padding: int = 0
    pad_mode: str = "zero"
    flip: bool | Literal["alternating"] = False
    vertical_flip: bool = False
    cutout: int = 0
    erasing: RandomErasing | None = None
    mixer: Mixup | CutMix | RICAP | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        for name in ("resize", "crop_padding", "cutout"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool):
                raise ValueError(f"{name} is a whole number of pixels, got {value!r}")
        if not isinstance(self.flip, bool) and self.flip != "alternating":
            raise ValueError(f"flip is True, False or 'alternating', got {self.flip!r}")
        if not isinstance(self.vertical_flip, bool):
            raise ValueError(f"vertical_flip is True or False, got {self.vertical_flip!r}")
        for name, num in (("random_resized_crop", 2), ("ratio", 2), ("mean", None), ("std", None)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _numbers(name, getattr(self, name), num))
        if not is_number(self.center_crop):
            raise ValueError(f"center_crop is a fraction of the image's smaller dimension, got {self.center_crop!r}")
        _check_box(self)
        if self.crop_padding < 0 or self.cutout < 0:
            raise ValueError(f"crop_padding and cutout are pixels >= 0, got {self.crop_padding} and {self.cutout}")
        if not isinstance(self.randaugment, RandAugment | None):
            raise ValueError(f"randaugment is None, or a value such as RandAugment(2, 9), got {self.randaugment!r}")
        if not isinstance(self.color_jitter, ColorJitter | None):
            raise ValueError(f"color_jitter is None, or such as ColorJitter(0.4, 0.4, 0.4), got {self.color_jitter!r}")
        if not isinstance(self.erasing, RandomErasing | None):
            raise ValueError(f"erasing is None, or a value such as RandomErasing(p=0.25), got {self.erasing!r}")
        if not isinstance(self.mixer, Mixup | CutMix | RICAP | None):
            raise ValueError(f"mixer is None, or a value such as Mixup(), CutMix() or RICAP(), got {self.mixer!r}")
        if self.pad_mode not in ("zero", "reflect"):
            raise ValueError(f"pad_mode is 'zero' or 'reflect', got {self.pad_mode!r}")
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if len(self.mean) != len(self.std) or not finite or min(self.std) <= 0:
            raise ValueError(
                f"mean and std need one finite value a channel and std > 0, got {self.mean} and {self.std}"
            )
        if min(self.mean) < 0 or max(self.mean) > 1:
            raise ValueError(
                f"mean and std are in units of [0, 1], where 1 is the pixel value 255, got {self.mean} and {self.std}: "
                "divide both by 255"
            )


def _numbers(name: str, values: object, num: int | None) -> tuple[float, ...]:
    """The values as a tuple; refuses what is not a sequence of so many numbers, where None is any number of them."""
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, tuple | list) or len(values) != (num or max(1, len(values))):
        values_are_numbers = False
    else:
        values_are_numbers = all(map(is_number, values))
    if not values_are_numbers:
        what = "two numbers" if num else "one number for each channel, such as (0.5, 0.5, 0.5)"
        raise ValueError(f"{name} is {what}, got {values!r}")
    return tuple(values)  # pyright: ignore[reportArgumentType]


def _check_box(augment: Augment) -> None:
    fraction, ratio = augment.random_resized_crop, augment.ratio
    if augment.resize < 0:
        raise ValueError(f"resize is an image size in pixels, or 0 for none, got {augment.resize}")
    if fraction is not None and not (len(fraction) == 2 and 0 < fraction[0] <= fraction[1] <= 1):
        raise ValueError(
            f"random_resized_crop is two fractions of the image's area, 0 < smallest <= largest <= 1, got {fraction}"
        )
    if not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1]):
        raise ValueError(f"ratio is two values of width / height, 0 < smallest <= largest, got {ratio}")
    if not 0 < augment.center_crop <= 1:
        raise ValueError(
            f"center_crop is a fraction of the image's smaller dimension, in (0, 1], got {augment.center_crop}"
        )
    if not augment.resize and (fraction is not None or augment.center_crop != 1):
        raise ValueError("random_resized_crop and center_crop need an image size: set resize, such as resize=224")
    if fraction is not None and augment.center_crop != 1:
        raise ValueError(
            f"random_resized_crop draws a box and center_crop takes the centred square, got {fraction} and "
            f"{augment.center_crop}: set one of them"
        )
