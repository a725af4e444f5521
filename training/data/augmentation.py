"""What happens to the images of a run, from its settings."""

from __future__ import annotations

import dataclasses

from loaders.augment.color_jitter import ColorJitter
from loaders.augment.config import Augment
from loaders.augment.erasing import RandomErasing
from loaders.augment.mixers import RICAP, CutMix, Mixup
from loaders.augment.randaugment import RandAugment
from loaders.formats.manifest import Manifest
from training.config import AugmentationOptions, Config


def make_mixer(config: AugmentationOptions) -> Mixup | CutMix | RICAP | None:
    """The mixer with its parameter, or None."""
    kinds = {"mixup": Mixup, "cutmix": CutMix, "ricap": RICAP}
    if config.mixer == "none":
        return None
    return kinds[config.mixer](*(() if config.mixer_alpha is None else (config.mixer_alpha,)))


def make_randaugment(config: Config) -> RandAugment | None:
    """RandAugment, the reference code's version under compat=arazo, or None."""
    version = "arazo" if config.compat == "arazo" else "standard"
    return None if config.randaugment is None else RandAugment(*config.randaugment, version)


def normalise(config: Config, manifest: Manifest) -> Augment:
    """As tests see images: normalised by the settings' statistics or the data's own, and brought to one size.

    Raises:
        ValueError: the settings' statistics are of another number of channels.
    """
    mean, std, channels = config.mean or manifest.mean, config.std or manifest.std, manifest.image_shape[2]
    if not len(mean) == len(std) == channels:
        raise ValueError(
            f"--mean and --std need {channels} number{'s' * (channels > 1)}, one a channel of {config.data}, got "
            f"{[*mean]} and {[*std]}"
        )
    return Augment(resize=config.image_size or 0, mean=mean, std=std)


def augment_simply(config: Config, plain: Augment) -> Augment:
    """As training sees images in its clean end: all that happens to them but RandAugment and mixing.

    Raises:
        ValueError: a value out of bounds.
    """
    crop = {"crop_padding": config.crop_padding, "pad_mode": config.pad_mode}
    if config.image_size:
        crop = {"random_resized_crop": (config.smallest_box, 1.0)}
    return dataclasses.replace(
        plain,
        flip=config.flip,
        vertical_flip=config.vertical_flip,
        cutout=config.cutout,
        erasing=RandomErasing(config.erasing) if config.erasing else None,
        color_jitter=ColorJitter(*config.color_jitter) if config.color_jitter else None,
        **crop,
    )


def delivered_shape(config: Config, manifest: Manifest) -> tuple[int, int, int]:
    """H, W, C of what the loaders deliver.

    Raises:
        ValueError: the images vary in size.
    """
    height, width, channels = manifest.image_shape
    if config.image_size:
        return config.image_size, config.image_size, channels
    if not (height and width):
        raise ValueError(f"the images of {config.data} vary in size: say which to bring them to, as --image_size 64")
    return manifest.image_shape


def choose_image_sizes(config: Config, height: int, width: int) -> tuple[int, ...]:
    """`config.size_schedule`, or the default for images of this size; none is their own size throughout.

    Raises:
        ValueError: too small for the network.
    """
    sides, least = config.size_schedule, 16 if config.model == "rebarnet" else 1
    if sides is None:
        small = max(height * 3 // 4, least)
        sides = (small, small, height) if height == width and small < height else ()
    smallest = min(sides or (height, width))
    if smallest < least:
        raise ValueError(
            f"{config.model} needs images of at least {least} pixels a side, got {smallest}: choose a larger "
            f"{'--size_schedule' if config.size_schedule else '--image_size'}, or --model resnet8"
        )
    return sides


def clean_fraction(config: Config, passes: float = 1.0) -> float:
    """Last fraction of the budget without mixing: `clean_fraction`, or more where the run has too few visits.

    Strong mixing needs many visits per sample: a run of V visits mixes for the fraction V / mixer_visits of its budget.

    Args:
        passes: N over the number of samples that there are to draw; more than one in a part of the training set.

    Raises:
        ValueError: the number of visits is not known beforehand.
    """
    if not config.mixer_visits:
        return config.clean_fraction
    if config.budget_unit == "seconds":
        raise ValueError(
            "mixer_visits needs the number of visits, which a budget in seconds leaves open: give clean_fraction"
        )
    visits = passes * config.budget * config.epochs
    return max(config.clean_fraction, 1 - visits / config.mixer_visits)
