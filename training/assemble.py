"""From settings to the parts of a run: data, order, loaders, model, optimisers.

Knows what fits together; must not train or write anything.
"""

import copy
import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch

from convert.manifest import Manifest
from loaders.augment import Augment
from loaders.factory import make_loader
from loaders.importance import ImportanceTable
from loaders.rng import INIT, mix
from loaders.scheduler import IndexScheduler
from training.budget import make_budget
from training.checkpoint import State
from training.config import Config
from training.data import make_mixer, make_randaugment, open_data, open_loader, warm_up, whole_split
from training.events import require_tensorboard
from training.ledger import Ledger, count_flops
from training.loop import StepRule
from training.methods import make_scheduler
from training.models import build_model
from training.optimizers import build_optimizers
from training.precision import Precision, choose_device, choose_precision
from training.ranks import Ranks

_WHITENING_IMAGES = 1000


class Job(NamedTuple):
    """All that stays the same while a run goes on. `clean_loader` does not mix, or is `train_loader`."""

    config: Config
    ranks: Ranks
    manifest: Manifest
    device: torch.device
    precision: Precision
    scheduler: IndexScheduler
    train_loader: object
    clean_loader: object
    test_loader: object
    rule: StepRule


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
    if config.tensorboard:
        require_tensorboard()
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
    clean = dataclasses.replace(
        plain, crop_padding=config.crop_padding, pad_mode=config.pad_mode, flip=config.flip, cutout=config.cutout
    )
    augment = dataclasses.replace(clean, mixer=make_mixer(config), randaugment=make_randaugment(config))
    local_size = config.batch_size // ranks.world_size
    train_loader = clean_loader = open_loader(config, device, "train", augment, local_size)
    warm_up(train_loader, local_size)
    if config.clean_share and augment != clean:
        clean_loader = open_loader(config, device, "train", clean, local_size)
        warm_up(clean_loader, local_size)
    images = _whitening_images(config, device, plain, num_samples) if config.model == "rebarnet" else None
    generator = torch.Generator().manual_seed(mix(config.seed, INIT))
    model = build_model(
        config.model, len(manifest.classes), generator=generator, width=config.width, whitening_images=images
    )
    height, width, channels = manifest.image_shape
    sides = {None, *config.sides}
    flops = {side: count_flops(model, (channels, side or height, side or width))[1] for side in sides}
    rule = StepRule(
        make_budget(config, num_samples, flops),
        config.batch_size,
        precision,
        flops,
        config.label_smoothing,
        config.compat == "arazo",
        config.final_lr,
        config.sides,
        config.clean_share,
        config.ema,
    )
    model = model.to(device, memory_format=torch.channels_last)
    state = State(
        model,
        build_optimizers(model, config),
        ImportanceTable(num_samples, device),
        Ledger(num_samples),
        scaler=torch.amp.GradScaler(device.type) if precision.name == "fp16" else None,
        average=copy.deepcopy(model).requires_grad_(False) if config.ema else None,
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )
    test_loader = open_loader(config, device, "test", plain, local_size)
    loaders = (train_loader, clean_loader, test_loader)
    return Job(config, ranks, manifest, device, precision, scheduler, *loaders, rule), state


def _whitening_images(config: Config, device: torch.device, plain: Augment, num_samples: int) -> torch.Tensor:
    """float32 [B, 3, H, W]: the first pictures of the training set, normalised, on the CPU."""
    count = min(num_samples, _WHITENING_IMAGES)
    loader = make_loader(Path(config.data) / "train.beton", count, backend=config.backend, device=device, augment=plain)
    return next(iter(loader.epoch(whole_split(count)))).images.cpu()
