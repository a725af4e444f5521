"""From settings to the parts of a run: data, order, loaders, model, optimisers.

Knows what fits together; must not train or write anything.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from convert.manifest import Manifest, missing_files, read_manifest
from loaders.augment import Augment
from loaders.factory import make_loader
from loaders.importance import ImportanceTable
from loaders.policy import BY_NAME
from loaders.rng import INIT, mix
from loaders.scheduler import IndexScheduler
from loaders.types import EpochPlan, Snapshot
from training.checkpoint import State
from training.config import Config
from training.ledger import Ledger, count_flops
from training.loop import StepRule
from training.models import build_model
from training.optimizers import build_optimizers
from training.precision import Precision, choose_device, choose_precision
from training.ranks import Ranks

_WHITENING_IMAGES = 1000


class Job(NamedTuple):
    """All that stays the same while a run goes on. `flops` are per sample and pass pair, by the pictures' side."""

    config: Config
    ranks: Ranks
    manifest: Manifest
    device: torch.device
    precision: Precision
    scheduler: IndexScheduler
    train_loader: object
    test_loader: object
    rule: StepRule
    flops: dict[int | None, float]


def assemble(config: Config, ranks: Ranks = Ranks()) -> tuple[Job, State]:  # noqa: B008 (frozen)
    """Everything that this rank of a run needs, at its beginning; all but the network, which `distribute` puts in.

    Returns:
        the job, whose config has no "auto" and no open value left, and the state before the first step.

    Errors:
        ValueError, FileNotFoundError: one sentence on what the settings or the data lack.
    """
    if config.batch_size % ranks.world_size:
        raise ValueError(
            f"a batch of {config.batch_size} cannot be shared equally by {ranks.world_size} ranks: choose a multiple"
        )
    manifest = open_data(config.data)
    device = choose_device(config.device, None if ranks.is_alone else ranks.local_rank)
    if device.index is not None:
        torch.cuda.set_device(device)
    precision = choose_precision(config.precision, device)
    config = dataclasses.replace(
        config,
        device=str(device) if ranks.is_alone else device.type,
        precision=precision.name,
        mean=config.mean or manifest.mean,
        std=config.std or manifest.std,
    )
    num_samples = manifest.splits["train"].num_samples
    scheduler = make_scheduler(config, num_samples)
    plain = Augment(mean=config.mean, std=config.std)
    augment = dataclasses.replace(
        plain, crop_padding=config.crop_padding, pad_mode=config.pad_mode, flip=config.flip, cutout=config.cutout
    )
    local_size = config.batch_size // ranks.world_size
    train_loader = _loader(config, device, "train", augment, local_size)
    warm_up(train_loader, local_size)
    images = _whitening_images(config, device, plain, num_samples) if config.model == "rebarnet" else None
    generator = torch.Generator().manual_seed(mix(config.seed, INIT))
    model = build_model(
        config.model, len(manifest.classes), generator=generator, width=config.width, whitening_images=images
    )
    height, width, channels = manifest.image_shape
    rule = StepRule(
        config.epochs * len(scheduler) // config.batch_size,
        config.label_smoothing,
        config.compat == "arazo",
        config.final_lr,
        config.sides,
    )
    sides = {rule.side(step) for step in range(rule.total_steps)}
    flops = {side: count_flops(model, (channels, side or height, side or width))[1] for side in sides}
    model = model.to(device, memory_format=torch.channels_last)
    state = State(
        model,
        build_optimizers(model, config),
        ImportanceTable(num_samples, device),
        Ledger(num_samples),
        scaler=torch.amp.GradScaler(device.type) if precision.name == "fp16" else None,
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )
    test_loader = _loader(config, device, "test", plain, local_size)
    return Job(config, ranks, manifest, device, precision, scheduler, train_loader, test_loader, rule, flops), state


def open_data(folder: str) -> Manifest:
    """The manifest of a converted data set, all of whose files are in place.

    Errors:
        ValueError: the folder or a file is missing; says which command makes it.
    """
    name = Path(folder).name
    command = {
        "cifar100": "python convert/cifar.py --dataset cifar100",
        "shapes": "python convert/shapes.py",
    }.get(name, "python convert/cifar.py")
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no data set: run `{command}` first, or point --data to one") from None
    missing = missing_files(folder, manifest)
    if missing or not {"train", "test"} <= set(manifest.splits):
        what = ", ".join(missing) or "a train or a test split"
        raise ValueError(f"{folder} is incomplete ({what} missing or of another size): run `{command}` again")
    return manifest


def make_scheduler(config: Config, num_samples: int) -> IndexScheduler:
    """The order of the epochs; tried once, so that what it compiles is not on the training clock.

    Errors:
        ValueError: an unknown method or design, a batch larger than the plan, or a method that ignores the budget.
    """
    if config.method not in BY_NAME:
        raise ValueError(f"unknown method {config.method!r}: allowed are {', '.join(BY_NAME)}")
    scheduler = IndexScheduler(
        num_samples,
        policy=config.method,
        budget=config.budget,
        design=config.design,
        seed=config.seed,
        batch_size=config.batch_size,
        compat="arazo" if config.compat == "arazo" else None,
    )
    scores = np.linspace(0, 1, num_samples, dtype=np.float32)
    scheduler.plan(0, Snapshot(np.ones_like(scores), *[scores] * 4))
    if len(scheduler.plan(0)) != len(scheduler):
        raise ValueError(f"method {config.method} sets its own number of samples, which a budget does not allow")
    return scheduler


def data_digest(manifest: Manifest) -> str:
    """Tells whether two runs saw the same training pictures and labels."""
    split = manifest.splits["train"]
    return f"{split.pixels_sha256}-{split.labels_sha256}"


def warm_up(loader, batch_size: int) -> None:
    """Draw one batch and drop it, so that what the loader compiles or opens is not on the training clock."""
    for _ in loader.epoch(EpochPlan(np.zeros(batch_size, np.int64))):
        break


def whole_split(num_samples: int, ranks: Ranks = Ranks()) -> EpochPlan:  # noqa: B008 (frozen)
    """Every sample once, in the order of the file; this rank's part of them."""
    return EpochPlan(ranks.part(num_samples))


def _loader(config: Config, device: torch.device, split: str, augment: Augment, batch_size: int):
    path = Path(config.data) / f"{split}.beton"
    return make_loader(path, batch_size, backend=config.backend, device=device, augment=augment)


def _whitening_images(config: Config, device: torch.device, plain: Augment, num_samples: int) -> torch.Tensor:
    """float32 [B, 3, H, W]: the first pictures of the training set, normalised, on the CPU."""
    count = min(num_samples, _WHITENING_IMAGES)
    loader = make_loader(Path(config.data) / "train.beton", count, backend=config.backend, device=device, augment=plain)
    return next(iter(loader.epoch(whole_split(count)))).images.cpu()
