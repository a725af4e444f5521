"""A linear network on fixed random images: runs of any method that take milliseconds."""

import dataclasses
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from loaders.importance import ImportanceTable
from loaders.types import Batch, EpochPlan, Mix, Snapshot
from training.arguments import make_config
from training.budget import Budget
from training.ledger import Flops, Ledger
from training.loop import end_epoch, plan_epoch, train_epoch
from training.machine.distributed import Ranks
from training.machine.precision import choose_precision
from training.machine.signals import StopRequest
from training.methods import make_method
from training.methods.base import Context, Method
from training.methods.within_batch.proxy_filter import ProxyFilter
from training.schedules import Schedule
from training.setup import average_of
from training.state import Run

NUM, BATCH_SIZE, CLASSES = 1200, 20, 3
NUM_BATCHES = NUM // BATCH_SIZE
FLOPS = Flops(forward=1.0, step=3.0)
SMALL_FLOPS = Flops(forward=0.25, step=0.75)
RNG = np.random.default_rng(0)
IMAGES = torch.from_numpy(RNG.normal(size=(NUM, 3, 2, 2)).astype(np.float32))
LABELS = torch.from_numpy(RNG.integers(0, CLASSES, NUM))
ENDLESS = Budget("steps", 10_000, None)


class Loader:
    """Batches of the fixed images, mixed by pairs where asked."""

    def __init__(self, mix: bool = False, device: str = "cpu"):
        self.mix, self.device = mix, device

    def epoch(self, plan: EpochPlan, start_batch: int = 0):
        for first in range(start_batch * BATCH_SIZE, len(plan), BATCH_SIZE):
            ids = torch.from_numpy(plan.ids[first : first + BATCH_SIZE].copy())
            weights = None if plan.weights is None else torch.tensor(plan.weights[first : first + BATCH_SIZE].copy())
            images, mix = IMAGES[ids], None
            if self.mix:
                share = 0.6 + 0.3 * (first % 7) / 7
                partners = torch.stack([torch.arange(len(ids)), torch.arange(len(ids)).roll(1)], dim=1)
                images = share * images + (1 - share) * images.roll(1, 0)
                mix = Mix(partners, torch.tensor([share, 1 - share]))
            images = images.contiguous(memory_format=torch.channels_last)
            yield Batch(images, LABELS[ids], ids, weights, mix)


class Linear(nn.Module):
    """A linear network that counts how many images it sees, in training (True) and for scores (False)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, CLASSES, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, 36).reshape(CLASSES, 12).sin())
            self.linear.bias.zero_()
        self.passes = {True: 0, False: 0}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes[self.training] += len(images)
        return self.linear(images.flatten(1))


def sgd(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD([{"params": list(model.parameters()), "base_lr": lr}], lr=lr)]


def make_run(
    method: str, *, budget: Budget = ENDLESS, lr: float = 0.02, mix: bool = False, device: str = "cpu", **settings
) -> Run:
    """A run that stands at its beginning; an epoch is all of the images unless `settings` say otherwise."""
    values = {
        "batch_size": BATCH_SIZE,
        "label_smoothing": 0.0,
        "ema": 0.0,
        "eval_every": 0,
        "optimizer": "sgd",
        **settings,
    }
    values["budget"] = values.pop("fraction", 1.0)
    config, place, model = make_config({"method": method, **values}), torch.device(device), Linear().to(device)
    chooser = make_method(
        Context(config, NUM, place, reference_losses=reference_losses(NUM), make_network=small_network)
    )
    if isinstance(chooser, ProxyFilter):
        chooser.flops = {(3, 2, 2): SMALL_FLOPS}
    schedule = Schedule(final_lr=lr, ema=config.ema)
    manifest = SimpleNamespace(splits={"test": SimpleNamespace(num_samples=BATCH_SIZE)})
    loader = Loader(mix)
    data = SimpleNamespace(
        manifest=manifest,
        train_loader=loader,
        clean_loader=loader,
        test_loader=Loader(),
        num_samples=NUM,
        digest="toy",
        tested_split="test",
        tested_plan=lambda ranks: EpochPlan(ranks.shard(BATCH_SIZE)),
    )
    return Run(
        config=config,
        ranks=Ranks(),
        stop=StopRequest(),
        device=place,
        precision=choose_precision("fp32", place),
        data=data,
        method=chooser,
        budget=budget,
        schedule=schedule,
        flops={None: FLOPS},
        model=model,
        network=model,
        optimizers=sgd(model, lr),
        scaler=torch.amp.GradScaler(device, enabled=False),
        average=average_of(model, schedule) if config.ema else None,
        table=ImportanceTable(NUM, device, getattr(chooser, "score_decay", 0.9)),
        ledger=Ledger(),
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )


def train(run: Run, epochs: int = 1) -> None:
    """Train, without tests or files."""
    for _ in range(epochs):
        plan_epoch(run)
        for _ in train_epoch(run):
            pass
        end_epoch(run)
        run.next_epoch()


def visits(run: Run) -> np.ndarray:
    """How often each sample was trained on, float32 [N]."""
    return run.table.snapshot().visits


def check_counts(run: Run) -> None:
    """What was counted is what the network saw."""
    passes, ledger = run.model.passes, run.ledger
    assert ledger.backward_samples == passes[True]
    assert ledger.forward_samples == passes[True] + passes[False]
    assert ledger.flops == FLOPS.step * passes[True] + FLOPS.forward * passes[False]
    assert np.isclose(visits(run).sum(), ledger.samples, rtol=1e-5)


def snapshot(num_samples: int, seed: int = 0) -> Snapshot:
    """Three visits and random scores of each sample."""
    values = np.random.default_rng(seed).random((len(Snapshot._fields), num_samples), dtype=np.float32)
    return Snapshot(np.full(num_samples, 3, np.float32), *values[1:])


def made(method: str, num_samples: int = 200, ranks: Ranks = Ranks(), subset=None, **settings) -> Method:  # noqa: B008
    """A method for so many samples, of which an epoch draws 30 % in batches of ten."""
    config = make_config(
        {"method": method, "budget": 0.3, "batch_size": 10, "epochs": 8, "optimizer": "sgd", **settings}
    )
    reference = reference_losses(num_samples if subset is None else len(subset))
    return make_method(
        Context(
            config,
            num_samples,
            ranks=ranks,
            subset=subset,
            reference_losses=reference,
            make_network=small_network,
        )
    )


def small_network(width: float, key: int) -> Linear:
    """One beside the run's, for proxy-filter; its initial values depend on neither."""
    return Linear()


def reference_losses(num: int) -> np.ndarray:
    """Those of another network, for rho-loss."""
    return np.random.default_rng(1).exponential(size=num).astype(np.float32)


class StopAfter(StopRequest):
    """A request to stop that comes when it has been looked for so many times."""

    def __init__(self, looks: int):
        self.looks = looks

    @property
    def signal(self) -> int | None:
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None


@dataclasses.dataclass
class Silence:
    """A report that tells nobody; it keeps the losses of the epochs."""

    folder: Path
    losses: list[float | None] = dataclasses.field(default_factory=list)

    def batch(self, run: Run) -> None:
        pass

    def history(self, run: Run) -> None:
        pass

    def epoch(self, run: Run, tested) -> None:
        self.losses.append(run.train_loss)
