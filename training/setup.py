"""From settings to the parts of a run: data, order, loaders, model, optimisers.

Knows what fits together; must not train or write anything.
"""

import copy
import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch

from loaders.augment.config import Augment
from loaders.formats.manifest import Manifest
from loaders.importance import ImportanceTable
from loaders.loader import make_loader
from loaders.order.rng import INIT, fold_in
from training.budget import make_budget
from training.checkpoint import State
from training.config import Config
from training.coreset.file import Coreset, read_coreset
from training.data import (
    augment_simply,
    choose_image_sizes,
    clean_fraction,
    data_digest,
    delivered_shape,
    make_mixer,
    make_randaugment,
    normalise,
    open_data,
    open_loader,
    warm_up,
    whole_split,
)
from training.ledger import Ledger, count_flops
from training.loop import warm_up as warm_up_network
from training.machine.distributed import Ranks
from training.machine.precision import Precision, choose_device, choose_precision
from training.methods.batch_memory import new_memory
from training.methods.batch_rules import make_batch_rule
from training.methods.build import MethodScheduler, make_scheduler
from training.models.build import build_model
from training.optim.build import build_optimizers
from training.report.tensorboard import require_tensorboard
from training.step_rule import StepRule

_WHITENING_IMAGES = 1000


class Job(NamedTuple):
    """All that stays the same while a run goes on. `clean_loader` does not mix, or is `train_loader`; `image_shape` is
    H, W, C of the images that both deliver."""

    config: Config
    ranks: Ranks
    manifest: Manifest
    device: torch.device
    precision: Precision
    scheduler: MethodScheduler
    train_loader: object
    clean_loader: object
    test_loader: object
    rule: StepRule
    image_shape: tuple[int, int, int]
    coreset: Coreset | None = None


def assemble(
    config: Config,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    coreset_files: tuple[bytes, bytes] | None = None,
) -> tuple[Job, State]:
    """Everything that this rank of a run needs, at its beginning; all but the network, which `distribute` puts in.

    Args:
        coreset_files: content of the settings' core-set, read by another rank perhaps; None reads it here.

    Returns:
        the job, in whose config all is decided that depends on the machine, and the state before the first step.

    Raises:
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
    )
    num_samples, image_shape = manifest.splits["train"].num_samples, delivered_shape(config, manifest)
    height, width, channels = image_shape
    sides = choose_image_sizes(config, height, width)
    choice = make_batch_rule(config, ranks)
    ledger, coreset, subset = Ledger(num_samples), None, ()
    if config.coreset is not None:
        coreset = read_coreset(config.coreset, data_digest(manifest), num_samples, coreset_files)
        subset, cost = (coreset.ids, coreset.weights), coreset.cost
        ledger.charge(cost.forward_samples, cost.backward_samples, cost.flops, cost.seconds)
    scheduler = make_scheduler(config, num_samples, *subset)
    fraction, plain = clean_fraction(config, num_samples / scheduler.num_items), normalise(config, manifest)
    clean = augment_simply(config, plain)
    augment = dataclasses.replace(clean, mixer=make_mixer(config), randaugment=make_randaugment(config))
    local_size = config.batch_size // ranks.world_size
    train_loader = clean_loader = open_loader(config, device, "train", augment, local_size)
    warm_up(train_loader, local_size)
    if fraction and augment != clean:
        clean_loader = open_loader(config, device, "train", clean, local_size)
        warm_up(clean_loader, local_size)
    images = _whitening_images(config, device, plain, num_samples) if config.model == "rebarnet" else None
    generator = torch.Generator().manual_seed(fold_in(config.seed, INIT))
    model = build_model(
        config.model, len(manifest.classes), generator=generator, width=config.width, whitening_images=images
    )
    if device.type == "cpu":
        warm_up_network(model, (channels, height, width), precision)
    counted = {side: count_flops(model, (channels, side or height, side or width)) for side in {None, *sides}}
    scoring_flops, flops = ({side: counts[k] for side, counts in counted.items()} for k in (0, 1))
    is_scoring, is_even = (choice.makes_passes, choice.steps_each_batch) if choice else (False, scheduler.even_epochs)
    rule = StepRule(
        make_budget(config, num_samples, flops, scoring_flops if is_scoring else None, is_even, ledger),
        config.batch_size,
        precision,
        flops,
        config.label_smoothing,
        config.compat == "arazo",
        config.final_lr,
        sides,
        fraction,
        config.ema,
        choice,
        scoring_flops,
    )
    model = model.to(device, memory_format=torch.channels_last)
    state = State(
        model,
        build_optimizers(model, config),
        ImportanceTable(num_samples, device, config.score_decay),
        ledger,
        scaler=torch.amp.GradScaler(device.type) if precision.name == "fp16" else None,
        average=copy.deepcopy(model).requires_grad_(False) if config.ema else None,
        memory=None if choice is None else new_memory(num_samples, device),
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )
    test_loader = open_loader(config, device, "test", plain, local_size)
    loaders = (train_loader, clean_loader, test_loader)
    return Job(config, ranks, manifest, device, precision, scheduler, *loaders, rule, image_shape, coreset), state


def _whitening_images(config: Config, device: torch.device, plain: Augment, num_samples: int) -> torch.Tensor:
    """float32 [B, 3, H, W]: the first images of the training set, normalised, on the CPU."""
    count = min(num_samples, _WHITENING_IMAGES)
    loader = make_loader(Path(config.data) / "train.beton", count, backend=config.backend, device=device, augment=plain)
    return next(iter(loader.epoch(whole_split(count)))).images.cpu()
