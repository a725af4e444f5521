"""From settings to a run that stands at its beginning."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loaders.augment.config import Augment
from loaders.formats.manifest import Manifest
from loaders.formats.open import open_dataset
from loaders.importance import ImportanceTable
from loaders.order.rng import INIT, fold_in
from loaders.types import EpochPlan
from training import checkpoint
from training.budget import draw_fraction, make_budget, with_batch_size
from training.config import Config
from training.coreset.file import Coreset, read_coreset
from training.data.augmentation import (
    augment_simply,
    choose_image_sizes,
    clean_fraction,
    delivered_shape,
    make_mixer,
    make_randaugment,
    normalise,
)
from training.data.loading import Data, open_loader, warm_up
from training.data.manifest import check_labels, data_digest, open_manifest, split_files
from training.data.validation import held_out as hold_out
from training.ledger import Ledger, count_flops
from training.machine.distributed import Ranks
from training.machine.precision import choose_device, choose_precision
from training.machine.signals import StopRequest
from training.methods import make_method
from training.methods.base import Context
from training.models.build import build_model
from training.models.own_network import check_own_network
from training.optim.build import build_optimizers
from training.own_code import is_own
from training.report.tensorboard import require_tensorboard
from training.report.tracker import require_tracker
from training.schedules import Schedule
from training.state import Run
from training.step.average import Average
from training.step.graph import obstacle, prepare

_WHITENING_IMAGES = 1000


def set_up(
    config: Config,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    stop: StopRequest | None = None,
    coreset_files: tuple[bytes, bytes] | None = None,
    saved: dict[str, Any] | None = None,
) -> Run:
    """Make everything that this rank of a run needs; what depends on the machine is resolved in the run's config.

    `network` is the model itself until `make_ready`.

    Args:
        stop: whether a signal has come; None is never.
        coreset_files: content of the settings' core-set, read by another rank perhaps; None reads it here.
        saved: a loaded checkpoint that will be restored; one of another run is refused before any work is done.

    Raises:
        ValueError, FileNotFoundError: one sentence on what the settings or the data lack, or on how they differ from
            those of the checkpoint.
    """
    if config.tensorboard:
        require_tensorboard()
    if config.tracker != "none":
        require_tracker(config.tracker)
    manifest = open_manifest(config.data, None if config.validation else config.eval_split)
    config = with_batch_size(config, manifest.splits["train"].num_samples, ranks.world_size)
    if config.batch_size % ranks.world_size:
        raise ValueError(
            f"a batch of {config.batch_size} cannot be split equally over {ranks.world_size} ranks: choose a multiple"
        )
    device = choose_device(config.device, None if ranks.is_alone else ranks.local_rank)
    if device.index is not None:
        torch.cuda.set_device(device)
    if config.graph and device.type != "cuda":
        raise ValueError("graph needs a GPU, whose steps it launches at once, the device is cpu: leave --graph out")
    precision = choose_precision(config.precision, device)
    config = dataclasses.replace(
        config, device=str(device) if ranks.is_alone else device.type, precision=precision.name
    )
    num_samples = manifest.splits["train"].num_samples
    height, width, channels = delivered_shape(config, manifest)
    sizes = choose_image_sizes(config, height, width)
    ledger, coreset = Ledger(), None
    context = Context(config, num_samples, device, ranks)
    if config.coreset is not None:
        coreset = read_coreset(config.coreset, data_digest(manifest), num_samples, coreset_files)
        cost = coreset.cost
        ledger.charge(cost.forward_samples, cost.backward_samples, cost.flops, cost.seconds)
        context = dataclasses.replace(
            context, subset=coreset.ids, subset_weights=coreset.weights, reference_losses=coreset.losses
        )
    if saved is not None:
        checkpoint.check_origin(saved, config, data_digest(manifest, coreset))
    held_out, trainable = None, np.arange(num_samples)
    if config.validation:
        if coreset:
            raise ValueError(
                "a core-set was chosen with the held-out samples in view: give one of --validation, --coreset"
            )
        labels_N = open_dataset(split_files(config.data, "train")).labels
        held_out = hold_out(labels_N, config.validation)
        trainable = np.setdiff1d(trainable, held_out)
        context = dataclasses.replace(context, subset=trainable, num_held_out=len(held_out))
    images = _whitening_images(config, device, normalise(config, manifest), trainable)

    def make_network(width: float, key: int) -> nn.Module:
        generator = torch.Generator().manual_seed(key)
        classes = len(manifest.classes)
        model = build_model(
            config.model, classes, generator=generator, width=width, channels=channels, whitening_images=images
        )
        return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    method = make_method(dataclasses.replace(context, make_network=make_network))
    clean = clean_fraction(config, len(trainable) / method.scheduler.num_items)
    data = _open_loaders(config, device, ranks, manifest, coreset, held_out, has_clean_end=clean > 0)
    model = make_network(config.width, fold_in(config.seed, INIT))
    shapes = {size: (channels, size or height, size or width) for size in {None, *sizes}}
    draws = False
    if is_own(config.model):
        draws = check_own_network(config.model, model, len(manifest.classes), [*shapes.values()])
    flops = {size: count_flops(model, shape) for size, shape in shapes.items()}
    fraction = draw_fraction(config, method.chooses)
    budget = make_budget(
        config, len(trainable), flops, method.makes_passes, method.even_epochs, ledger, fraction, sizes
    )
    steps = budget.total_steps
    until = (steps - 1) / steps if config.compat == "arazo" and steps else 1.0
    schedule = Schedule(
        config.final_lr, until, sizes, clean, config.ema, config.lr_schedule, config.lr_milestones, config.lr_gamma
    )
    return Run(
        config=config,
        ranks=ranks,
        stop=stop or StopRequest(),
        device=device,
        precision=precision,
        data=data,
        method=method,
        budget=budget,
        schedule=schedule,
        flops=flops,
        model=model,
        draws=draws,
        network=model,
        optimizers=build_optimizers(model, config),
        scaler=torch.amp.GradScaler(device.type, enabled=precision.name == "fp16"),
        average=average_of(model, schedule) if config.ema else None,
        table=ImportanceTable(num_samples, device, getattr(method, "score_decay", 0.9)),
        ledger=ledger,
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )


def make_ready(run: Run) -> None:
    """Distribute and compile the network, and record the run's steps as graphs, as the settings say.

    Called after a checkpoint is restored: both keep references to the run's tensors.

    Raises:
        ValueError: a step does what a graph cannot.
    """
    run.network = run.ranks.distribute(run.model, run.device)
    if run.config.compile:
        run.network = torch.compile(run.network)  # type: ignore[assignment]
    if run.config.graph and obstacle(run) is None:
        prepare(run)


def average_of(model: nn.Module, schedule: Schedule) -> Average:
    """A running average of the model's weights and statistics, by the schedule's decay."""
    return Average(model, schedule).requires_grad_(False)


def _open_loaders(
    config: Config,
    device: torch.device,
    ranks: Ranks,
    manifest: Manifest,
    coreset: Coreset | None,
    held_out: np.ndarray | None,
    has_clean_end: bool,
) -> Data:
    """The loaders of the run's splits; those of training are warmed up, that of the test is not."""
    plain, size = normalise(config, manifest), config.batch_size // ranks.world_size
    clean = augment_simply(config, plain)
    augment = dataclasses.replace(clean, mixer=make_mixer(config), randaugment=make_randaugment(config))
    train_loader = clean_loader = open_loader(config, device, "train", augment, size)
    warm_up(train_loader, size)
    if has_clean_end and augment != clean:
        clean_loader = open_loader(config, device, "train", clean, size)
        warm_up(clean_loader, size)
    split = config.eval_split if held_out is None else "train"
    test_loader = open_loader(config, device, split, plain, size)
    for loader, name in ((train_loader, "train"), (test_loader, split)):
        check_labels(loader, manifest, name)
    return Data(manifest, train_loader, clean_loader, test_loader, config.eval_split, coreset, held_out)


def _whitening_images(config: Config, device: torch.device, plain: Augment, ids: np.ndarray) -> Tensor | None:
    """The first of these images, normalised, float32 [B, C, H, W] on the CPU; None for other networks."""
    if config.model != "rebarnet":
        return None
    plan = EpochPlan(ids[:_WHITENING_IMAGES])
    return next(iter(open_loader(config, device, "train", plain, len(plan)).epoch(plan))).images.cpu()
