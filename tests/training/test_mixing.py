"""Mixed batches in training: who is credited, when mixing ends, and what the reference's way of crediting does."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loaders.augment.mixers import RICAP, Mixup, draw_mix
from loaders.importance import ImportanceTable
from loaders.order.diagnostics import describe_visits
from loaders.order.policies import p_sgd
from loaders.types import Batch, EpochPlan, Mix
from training import checkpoint
from training.arguments import make_config
from training.budget import Budget
from training.data.augmentation import clean_fraction
from training.ledger import Flops, Ledger
from training.loop import train_epoch
from training.machine.distributed import Ranks
from training.machine.precision import choose_precision
from training.machine.signals import StopRequest
from training.methods import make_method
from training.methods.base import Context
from training.report.folder import read_summary
from training.run import main
from training.schedules import Schedule
from training.setup import average_of
from training.state import Run

NUM, CLASSES, BATCH_SIZE = 400, 10, 50
CPU = torch.device("cpu")


class MixedBatches:
    """A loader of images whose channels show, by area, the classes that they are made of."""

    def __init__(self, mixer, labels: np.ndarray, seen: np.ndarray):
        self.mixer, self.labels = mixer, labels
        self.shown = np.eye(CLASSES, dtype=np.float32)[seen]

    def epoch(self, plan: EpochPlan, start_batch: int = 0):
        for first in range(start_batch * BATCH_SIZE, len(plan), BATCH_SIZE):
            ids = plan.ids[first : first + BATCH_SIZE]
            images, mix = self.shown[ids], None
            if self.mixer is not None:
                drawn = draw_mix(self.mixer, plan.key, first, len(ids), 32, 32)
                images = (images[drawn.partners] * drawn.shares[:, None]).sum(1)
                mix = Mix(torch.from_numpy(drawn.partners), torch.from_numpy(drawn.shares))
            images = torch.from_numpy(images)[:, :, None, None]
            yield Batch(images, torch.from_numpy(self.labels[ids]), torch.from_numpy(ids.copy()), None, mix)


def make_run(loader, scale: float = 1.0, lr: float = 0.0, steps: int = 10_000, clean_loader=None, **settings) -> Run:
    """A run whose network names the class that fills most of an image."""
    clean = settings.get("clean_fraction", 0.0)
    config = make_config({"batch_size": BATCH_SIZE, "label_smoothing": 0.0, "ema": 0.0, "mixer": "ricap", **settings})
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CLASSES, CLASSES, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(scale * torch.eye(CLASSES))
    return Run(
        config=config,
        ranks=Ranks(),
        stop=StopRequest(),
        device=CPU,
        precision=choose_precision("fp32", CPU),
        data=SimpleNamespace(train_loader=loader, clean_loader=clean_loader or loader),
        method=make_method(Context(config, NUM)),
        budget=Budget("steps", steps, 8),
        schedule=Schedule(clean_fraction=clean),
        flops={None: Flops(1.0, 1.0)},
        model=network,
        network=network,
        optimizers=[torch.optim.SGD([{"params": list(network.parameters()), "base_lr": lr}], lr=lr)],
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        average=None,
        table=ImportanceTable(NUM),
        ledger=Ledger(),
    )


def train_on(run: Run, plan: EpochPlan) -> int:
    """Train on a plan; the number of its batches."""
    run.plan, run.batch = plan, 0
    return len(list(train_epoch(run)))


def scores_of_a_perfect_network(mixer, compat: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean errors after 20 epochs, every second label wrong, and the weights that p-SGD makes of them.

    The network does not learn: it names the class that fills most of the image.
    """
    rng = np.random.default_rng(0)
    seen = rng.integers(0, CLASSES, NUM)
    labels = np.where(np.arange(NUM) % 2, (seen + 1) % CLASSES, seen)
    run = make_run(MixedBatches(mixer, labels, seen), scale=20, compat=compat)
    for epoch in range(20):
        train_on(run, EpochPlan(rng.permutation(NUM), epoch=epoch, key=epoch))
    snapshot = run.table.snapshot()
    return snapshot.mean_error, p_sgd(snapshot)


def entropy_deficit(weights: np.ndarray) -> float:
    """How far a draw by these weights is from the uniform one, in nats."""
    return describe_visits(weights)["entropy_deficit"]


def test_the_references_ricap_scores_are_noise_and_ours_are_not():
    error, weights = scores_of_a_perfect_network(RICAP(), "arazo")
    easy, hard = error[::2], error[1::2]
    assert error.mean() == pytest.approx(1 - 1 / CLASSES, abs=0.03), "scored by images that do not show the sample"
    assert abs(hard.mean() - easy.mean()) < 0.03
    assert entropy_deficit(weights) < 0.002, "the draw is uniform"
    error, ours = scores_of_a_perfect_network(RICAP(), "none")
    assert error[1::2].mean() - error[::2].mean() > 0.4
    assert entropy_deficit(ours) > 10 * entropy_deficit(weights)


def test_the_references_mixup_credits_the_first_image_wholly():
    labels = seen = np.arange(NUM) % CLASSES
    drawn = draw_mix(Mixup(), 7, 0, 50, 32, 32)
    for compat in ("arazo", "none"):
        run = make_run(MixedBatches(Mixup(), labels, seen), compat=compat)
        train_on(run, EpochPlan(np.arange(50), key=7))
        shown = np.eye(CLASSES)[seen[:50]]
        mixed = (shown[drawn.partners] * drawn.shares[:, None]).sum(1)
        p = np.exp(mixed) / np.exp(mixed).sum(1, keepdims=True)
        error = np.zeros(50)
        if compat == "arazo":
            error = 1 - p[np.arange(50), labels[:50]]
        else:
            for k, share in enumerate(drawn.shares):
                np.add.at(error, drawn.partners[:, k], share * (1 - p[np.arange(50), labels[drawn.partners[:, k]]]))
        snapshot = run.table.snapshot()
        assert snapshot.visits[:50] == pytest.approx(np.ones(50))
        assert snapshot.error[:50] == pytest.approx(error, abs=1e-5)


def test_the_last_fraction_of_the_budget_is_clean():
    kinds, labels = [], np.arange(NUM) % CLASSES

    class Named(MixedBatches):
        def epoch(self, plan, start_batch=0):
            for batch in super().epoch(plan, start_batch):
                kinds.append(batch.mix is not None)
                yield batch

    mixed, clean = Named(RICAP(), labels, labels), Named(None, labels, labels)
    run = make_run(mixed, lr=0.1, steps=8, clean_loader=clean, clean_fraction=0.25)
    assert train_on(run, EpochPlan(np.arange(NUM))) == 8
    assert kinds == [True] * 6 + [False] * 2
    assert run.table.snapshot().visits.sum() == pytest.approx(NUM)


def test_the_average_begins_with_the_first_weights_and_is_exponential():
    model, schedule = torch.nn.BatchNorm2d(2), Schedule(ema=0.25)
    average = average_of(model, schedule)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    expected_weight = expected_mean = 0.0
    for step in range(5):
        with torch.no_grad():
            model.weight.fill_(3.0 + step)
            model.running_mean.fill_(8.0 - step)
            model.num_batches_tracked.fill_(5 + step)
        average.update_parameters(model)
        decay = schedule.decay(step) if step else 0.0  # 2/11, 3/12, then 0.25
        expected_weight = decay * expected_weight + (1 - decay) * (3.0 + step)
        expected_mean = decay * expected_mean + (1 - decay) * (8.0 - step)
        assert average.module.weight.tolist() == pytest.approx([expected_weight] * 2)
        assert average.module.running_mean.tolist() == pytest.approx([expected_mean] * 2)
        assert average.module.num_batches_tracked == 5 + step
    assert average.n_averaged == 5


def test_a_short_run_forgets_its_first_weights():
    schedule = Schedule(ema=0.99)
    assert [schedule.decay(steps) for steps in (0, 8, 890, 10_000)] == [0.1, 0.5, 0.99, 0.99]
    assert math.prod(schedule.decay(steps) for steps in range(50)) < 1e-8


@pytest.mark.parametrize("mixer", ["mixup", "cutmix", "ricap"])
def test_a_mixed_run_is_credited_by_fractions(quick_args, tmp_path, mixer):
    changes = {"mixer": mixer, "clean_fraction": 0.3, "randaugment": "[1, 5]", "method": "p-sgd", "ema": 0.9}
    assert main(quick_args(out=tmp_path / "run", epochs=2, eval_every=0, backend="fused", **changes)) == 0
    summary, content = read_summary(tmp_path / "run"), checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    visits = content["table"]["total"][:, 0] + content["table"]["epoch"][:, 0]
    assert visits.sum() == pytest.approx(summary["samples"], rel=1e-4)
    assert (summary["mixer"], summary["backend"]) == (mixer, "fused")
    assert not torch.equal(content["average"]["module.head.weight"], content["model"]["head.weight"])


def test_mixing_follows_the_visits_per_sample():
    """Ten epochs of 30 % are three visits: mixed throughout when three are asked for, half of the run when six are."""
    config = make_config({"budget": 0.3, "epochs": 10, "mixer": "ricap"})
    clean = {v: clean_fraction(dataclasses.replace(config, mixer_visits=v)) for v in (0, 2, 3, 6, 30)}
    assert clean == pytest.approx({0: 0, 2: 0, 3: 0, 6: 0.5, 30: 0.9})
    assert clean_fraction(dataclasses.replace(config, mixer_visits=6, clean_fraction=0.7)) == 0.7
    assert clean_fraction(dataclasses.replace(config, mixer_visits=12), passes=2) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="seconds"):
        clean_fraction(dataclasses.replace(config, mixer_visits=6, budget_unit="seconds", budget=60))
