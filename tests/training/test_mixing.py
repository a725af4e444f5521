"""Mixed batches in training: who is credited, when mixing ends, and what the reference's way of crediting does."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from loaders.augment.mixers import RICAP, Mixup, draw_mix
from loaders.importance import ImportanceTable
from loaders.order.diagnostics import describe_visits
from loaders.order.policies import p_sgd
from loaders.types import Batch, EpochPlan, Mix
from training import checkpoint
from training.budget import Budget
from training.checkpoint import State
from training.config import Config
from training.data import clean_fraction
from training.ledger import Ledger
from training.loop import StepRule, train_epoch, update_average
from training.machine.precision import choose_precision
from training.report import folder as record
from training.run import main

NUM, CLASSES = 400, 10
FP32 = choose_precision("fp32", torch.device("cpu"))


class Painted:
    """A loader of images whose channels show, by area, the classes that they are made of."""

    def __init__(self, mixer, labels: np.ndarray, seen: np.ndarray, batch_size: int = 50):
        self.mixer, self.labels, self.size = mixer, labels, batch_size
        self.shown = np.eye(CLASSES, dtype=np.float32)[seen]

    def epoch(self, plan: EpochPlan, start_batch: int = 0):
        for first in range(start_batch * self.size, len(plan), self.size):
            ids = plan.ids[first : first + self.size]
            images, mix = self.shown[ids], None
            if self.mixer is not None:
                drawn = draw_mix(self.mixer, plan.key, first, len(ids), 32, 32)
                images = (images[drawn.partners] * drawn.shares[:, None]).sum(1)
                mix = Mix(torch.from_numpy(drawn.partners), torch.from_numpy(drawn.shares))
            images = torch.from_numpy(images)[:, :, None, None]
            yield Batch(images, torch.from_numpy(self.labels[ids]), torch.from_numpy(ids.copy()), None, mix)


def scores_of_a_perfect_network(mixer, arazo: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean errors after 20 epochs, every second label wrong, and the weights that p-SGD makes of them.

    The network does not learn: it names the class that fills most of the image.
    """
    rng = np.random.default_rng(0)
    seen = rng.integers(0, CLASSES, NUM)
    labels = np.where(np.arange(NUM) % 2, (seen + 1) % CLASSES, seen)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CLASSES, CLASSES, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(20 * torch.eye(CLASSES))
    optimizer = torch.optim.SGD([{"params": list(network.parameters()), "base_lr": 0.0}], lr=0.0)
    state = State(network, [optimizer], ImportanceTable(NUM), Ledger(NUM))
    rule = StepRule(Budget("steps", 10_000, 8), 50, FP32, {None: 1.0}, arazo=arazo)
    for epoch in range(20):
        state.plan, state.batch = EpochPlan(rng.permutation(NUM), epoch=epoch, key=epoch), 0
        list(train_epoch(state, Painted(mixer, labels, seen), rule))
    snapshot = state.table.snapshot()
    return snapshot.mean_error, p_sgd(snapshot)


def entropy_deficit(weights: np.ndarray) -> float:
    """How far a draw by these weights is from the uniform one, in nats."""
    return describe_visits(weights)["entropy_deficit"]


def test_the_references_ricap_scores_are_noise_and_ours_are_not():
    error, weights = scores_of_a_perfect_network(RICAP(), arazo=True)
    easy, hard = error[::2], error[1::2]
    assert error.mean() == pytest.approx(1 - 1 / CLASSES, abs=0.03), "scored by images that do not show the sample"
    assert abs(hard.mean() - easy.mean()) < 0.03
    assert entropy_deficit(weights) < 0.002, "the draw is uniform"
    error, ours = scores_of_a_perfect_network(RICAP(), arazo=False)
    assert error[1::2].mean() - error[::2].mean() > 0.4
    assert entropy_deficit(ours) > 10 * entropy_deficit(weights)


def test_the_references_mixup_credits_the_first_image_wholly():
    labels = seen = np.arange(NUM) % CLASSES
    drawn = draw_mix(Mixup(), 7, 0, 50, 32, 32)
    for arazo in (True, False):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CLASSES, CLASSES, bias=False))
        with torch.no_grad():
            network[1].weight.copy_(torch.eye(CLASSES))
        optimizer = torch.optim.SGD([{"params": list(network.parameters()), "base_lr": 0.0}], lr=0.0)
        state = State(network, [optimizer], ImportanceTable(NUM), Ledger(NUM), plan=EpochPlan(np.arange(50), key=7))
        rule = StepRule(Budget("steps", 100, 8), 50, FP32, {None: 1.0}, arazo=arazo)
        list(train_epoch(state, Painted(Mixup(), labels, seen), rule))
        shown = np.eye(CLASSES)[seen[:50]]
        mixed = (shown[drawn.partners] * drawn.shares[:, None]).sum(1)
        p = np.exp(mixed) / np.exp(mixed).sum(1, keepdims=True)
        error = np.zeros(50)
        if arazo:
            error = 1 - p[np.arange(50), labels[:50]]
        else:
            for k, share in enumerate(drawn.shares):
                np.add.at(error, drawn.partners[:, k], share * (1 - p[np.arange(50), labels[drawn.partners[:, k]]]))
        snapshot = state.table.snapshot()
        assert snapshot.visits[:50] == pytest.approx(np.ones(50))
        assert snapshot.error[:50] == pytest.approx(error, abs=1e-5)


def test_the_last_share_of_the_budget_is_clean():
    kinds, labels = [], np.arange(NUM) % CLASSES

    class Named(Painted):
        def epoch(self, plan, start_batch=0):
            for batch in super().epoch(plan, start_batch):
                kinds.append(batch.mix is not None)
                yield batch

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CLASSES, CLASSES))
    optimizer = torch.optim.SGD([{"params": list(network.parameters()), "base_lr": 0.1}], lr=0.1)
    state = State(network, [optimizer], ImportanceTable(NUM), Ledger(NUM), plan=EpochPlan(np.arange(NUM)))
    rule = StepRule(Budget("steps", 8, 8), 50, FP32, {None: 1.0}, clean_fraction=0.25)
    loaders = Named(RICAP(), labels, labels), Named(None, labels, labels)
    assert len(list(train_epoch(state, loaders[0], rule, loaders[1]))) == 8
    assert kinds == [True] * 6 + [False] * 2
    assert state.ledger.visits.tolist() == [1] * NUM


def test_the_average_is_exponential_and_counts_are_copied():
    model = torch.nn.BatchNorm2d(2)
    average = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(8.0)
        model.num_batches_tracked.fill_(5)
    update_average(average, model, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [2.0, 2.0]
    assert average.num_batches_tracked == 5


def test_a_short_run_forgets_its_first_weights():
    rule = StepRule(Budget("steps", 8, 8), 50, FP32, {None: 1.0}, ema=0.99)
    assert [rule.decay(steps) for steps in (0, 8, 890, 10_000)] == [0.1, 0.5, 0.99, 0.99]
    assert math.prod(rule.decay(steps) for steps in range(50)) < 1e-8


@pytest.mark.parametrize("mixer", ["mixup", "cutmix", "ricap"])
def test_a_mixed_run_is_credited_by_share(quick_args, tmp_path, mixer):
    changes = {"mixer": mixer, "clean_fraction": 0.3, "randaugment": "[1, 5]", "method": "p-sgd", "ema": 0.9}
    assert main(quick_args(out=tmp_path / "run", epochs=2, eval_every=0, backend="fused", **changes)) == 0
    summary, content = record.read_summary(tmp_path / "run"), checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    shares = content["table"]["total"][:, 0] + content["table"]["epoch"][:, 0]
    assert shares.sum() == pytest.approx(summary["samples"], rel=1e-4)
    assert (summary["mixer"], summary["backend"]) == (mixer, "fused")
    assert not torch.equal(content["average"]["head.weight"], content["model"]["head.weight"])


def test_mixing_follows_the_visits_per_sample():
    """Ten epochs of 30 % are three visits: mixed throughout when three are asked for, half of the run when six are."""
    config = Config(budget=0.3, epochs=10, mixer="ricap")
    shares = {v: clean_fraction(dataclasses.replace(config, mixer_visits=v)) for v in (0, 2, 3, 6, 30)}
    assert shares == pytest.approx({0: 0, 2: 0, 3: 0, 6: 0.5, 30: 0.9})
    assert clean_fraction(dataclasses.replace(config, mixer_visits=6, clean_fraction=0.7)) == 0.7
    assert clean_fraction(dataclasses.replace(config, mixer_visits=12), passes=2) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="seconds"):
        clean_fraction(dataclasses.replace(config, mixer_visits=6, budget_unit="seconds", budget=60))
