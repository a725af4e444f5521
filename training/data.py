"""The data of a run: its manifest, its loaders, and what happens to its images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from loaders.augment.color_jitter import ColorJitter
from loaders.augment.config import Augment
from loaders.augment.erasing import RandomErasing
from loaders.augment.mixers import RICAP, CutMix, Mixup
from loaders.augment.randaugment import RandAugment
from loaders.formats.manifest import Manifest, missing_files, read_manifest
from loaders.loader import Loader, make_loader
from loaders.types import EpochPlan
from training.config import AugmentationOptions, Config
from training.coreset.file import Coreset
from training.machine.commands import command
from training.machine.distributed import Ranks


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, and the loaders that deliver it.

    Attributes:
        manifest: what the data set holds.
        train_loader: augmented and mixed.
        clean_loader: not mixed, for the end of a run; `train_loader` itself where nothing is mixed.
        test_loader: only normalised.
        image_shape: H, W, C of what the loaders deliver.
        eval_split: the split that the run is tested on.
        coreset: the part of the training set that is trained on, or None.
        held_out: ids of the training set that are held out for validation, or None.
    """

    manifest: Manifest
    train_loader: Loader
    clean_loader: Loader
    test_loader: Loader
    image_shape: tuple[int, int, int]
    eval_split: str = "test"
    coreset: Coreset | None = None
    held_out: np.ndarray | None = None

    @property
    def num_samples(self) -> int:
        """Samples of the training set."""
        return self.manifest.splits["train"].num_samples

    @property
    def tested_split(self) -> str:
        """What the run is tested on: "test", "val", or "validation" where part of the training set is held out."""
        return self.eval_split if self.held_out is None else "validation"

    def tested_plan(self, ranks: Ranks) -> EpochPlan:
        """Every tested sample once; this rank's part of them."""
        if self.held_out is None:
            return whole_split(self.manifest.splits[self.eval_split].num_samples, ranks)
        return EpochPlan(self.held_out[ranks.shard(len(self.held_out))])

    @property
    def digest(self) -> str:
        """Tells whether two runs saw the same data (see `data_digest`)."""
        return data_digest(self.manifest, self.coreset)


def open_manifest(folder: str, eval_split: str = "test") -> Manifest:
    """The manifest of a converted data set, all of whose files are in place.

    Args:
        eval_split: the split beside "train" that is needed.

    Raises:
        ValueError: the folder or a file is missing; says which command makes it.
    """
    name = Path(folder).name
    converting = {
        "cifar10": command("convert cifar"),
        "cifar100": command("convert cifar", "--dataset", "cifar100"),
        "shapes": command("convert shapes"),
        "svhn": command("convert svhn"),
        "mnist": command("convert mnist"),
        "mini_imagenet": command("convert mini_imagenet", "IMAGES", "CSVS"),
    }.get(name, command("convert folder", "IMAGES", "--root", folder))
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no data set: run `{converting}` first, or point --data to one") from None
    missing = missing_files(folder, manifest)
    if missing:
        raise ValueError(
            f"{folder} is incomplete ({', '.join(missing)} missing or of another size): run `{converting}` again"
        )
    for split in ("train", eval_split):
        if split == "val" and split not in manifest.splits:
            raise ValueError(
                f"{folder} has no val split, only {', '.join(manifest.splits)}: leave --eval_split out, or hold a part "
                "of the training set out with --validation 0.1"
            )
        if split not in manifest.splits:
            raise ValueError(
                f"{folder} has no {split} split, only {', '.join(manifest.splits)}: convert images that lie in "
                "train/<class>/* and test/<class>/*"
            )
        if not manifest.files_of(split, ".beton"):
            files = ", ".join(manifest.splits[split].files)
            raise ValueError(
                f"{folder} holds its {split} split in {files} only, and training reads {split}.beton: convert it with "
                "--format beton or both"
            )
    return manifest


def split_files(folder: str | Path, split: str) -> Path | list[Path]:
    """The `.beton` of a split of a whole data set, or its shards in order: what `open_dataset` takes."""
    files = [Path(folder) / name for name in read_manifest(folder).files_of(split, ".beton")]
    return files[0] if len(files) == 1 else files


def data_digest(manifest: Manifest, coreset: Coreset | None = None) -> str:
    """Tells whether two runs saw the same training images and labels; the core-set's digest follows a "/"."""
    split = manifest.splits["train"]
    return f"{split.pixels_sha256}-{split.labels_sha256}" + (f"/{coreset.digest}" if coreset else "")


def make_mixer(config: AugmentationOptions) -> Mixup | CutMix | RICAP | None:
    """The mixer with its parameter, or None."""
    kinds = {"mixup": Mixup, "cutmix": CutMix, "ricap": RICAP}
    if config.mixer == "none":
        return None
    return kinds[config.mixer](*(() if config.mixer_alpha is None else (config.mixer_alpha,)))


def make_randaugment(config: Config) -> RandAugment | None:
    """RandAugment, in the reference's version where that is asked for, or None."""
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
            "--size_schedule, or --model resnet8"
        )
    return sides


def clean_fraction(config: Config, passes: float = 1.0) -> float:
    """Last fraction of the budget without mixing: `clean_fraction`, or more where the run has too few visits.

    Strong mixing needs many visits per sample: a run of V visits mixes for the fraction V / mixer_visits of its budget.

    Args:
        passes: N over the number of samples that there are to draw; more than one in a part of the training set.

    Raises:
        ValueError: the visits cannot be told beforehand.
    """
    if not config.mixer_visits:
        return config.clean_fraction
    if config.budget_unit == "seconds":
        raise ValueError(
            "mixer_visits needs a budget that tells the visits; with seconds choose clean_fraction yourself"
        )
    visits = passes * config.budget * config.epochs
    return max(config.clean_fraction, 1 - visits / config.mixer_visits)


def check_labels(loader: Loader, manifest: Manifest, split: str) -> None:
    """Refuse a file that does not hold what its manifest says.

    Raises:
        ValueError: another number of samples, or a label that is not one of the manifest's classes.
    """
    labels, expected = loader.dataset.labels, manifest.splits[split].num_samples
    if len(labels) != expected:
        raise ValueError(f"{split}.beton holds {len(labels):,} samples, its manifest says {expected:,}: convert again")
    if labels.min() < 0 or labels.max() >= len(manifest.classes):
        bad = int(labels.min() if labels.min() < 0 else labels.max())
        raise ValueError(
            f"{split}.beton has the label {bad}, and its manifest names {len(manifest.classes)} classes (0 to "
            f"{len(manifest.classes) - 1}): convert again"
        )


def warm_up(loader: Loader, batch_size: int) -> None:
    """Draw one batch and drop it, so that what the loader compiles or opens is not on the training clock."""
    for _ in loader.epoch(EpochPlan(np.zeros(batch_size, np.int64))):
        break


def whole_split(num_samples: int, ranks: Ranks = Ranks()) -> EpochPlan:  # noqa: B008 (frozen)
    """Every sample once, in the order of the file; this rank's part of them."""
    return EpochPlan(ranks.shard(num_samples))


def open_loader(config: Config, device: torch.device, split: str, augment: Augment, batch_size: int) -> Loader:
    """The loader of a split, `batch_size` samples of this rank at a time."""
    return make_loader(
        split_files(config.data, split), batch_size, backend=config.backend, device=device, augment=augment
    )
