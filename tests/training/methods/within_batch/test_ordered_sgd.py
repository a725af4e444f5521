"""Ordered SGD: the mean of the largest losses is descended on, and the accuracy says of how many."""

import numpy as np
import pytest
import torch

from loaders.types import EpochPlan
from tests.training.methods.toy import BATCH_SIZE, IMAGES, LABELS, NUM, made, make_run, train, visits
from training.loop import train_step
from training.machine.distributed import Ranks
from training.methods.within_batch.ordered_sgd import largest, num_largest
from training.step.losses import sample_losses


def test_num_largest_by_training_accuracy():
    steps = [(0.0, 64), (0.799, 64), (0.8, 32), (0.899, 32), (0.9, 16), (0.95, 8), (0.994, 8), (0.995, 4), (1.0, 4)]
    assert [num_largest(64, accuracy) for accuracy, _ in steps] == [q for _, q in steps]
    assert num_largest(8, 1.0) == 1


def test_largest():
    assert set(largest(torch.tensor([0.5, 3.0, 0.1, 2.0]), 2).tolist()) == {1, 3}


@pytest.mark.parametrize("mix", [False, True])
def test_a_step_descends_on_the_mean_of_the_largest_losses(mix):
    run = make_run("ordered-sgd", lr=0.5, mix=mix, keep=0.25)
    batch = next(run.data.train_loader.epoch(EpochPlan(np.arange(NUM))))
    model = run.model
    losses = sample_losses(model(batch.images), batch.labels, batch.mix)
    worst = losses.topk(5)
    gradient = torch.autograd.grad(worst.values.mean(), model.linear.weight)[0]
    expected = model.linear.weight.detach() - 0.5 * gradient
    train_step(run, batch)
    assert torch.allclose(model.linear.weight, expected, atol=1e-6)
    credit = np.zeros(NUM)
    for position in worst.indices.tolist():
        partners = [position] if batch.mix is None else batch.mix.partners[position].tolist()
        fractions = [1.0] if batch.mix is None else batch.mix.shares.tolist()
        np.add.at(credit, batch.ids[partners].numpy(), fractions)
    assert visits(run) == pytest.approx(credit)
    assert (run.ledger.samples, run.ledger.backward_samples, run.trained) == (5, BATCH_SIZE, 5)


def test_the_number_follows_the_accuracy_of_the_epoch_before():
    run = make_run("ordered-sgd", lr=1e-6)
    with torch.no_grad():
        right = (run.model(IMAGES).argmax(1) == LABELS).double().mean().item()
    train(run)
    ledger = run.ledger
    assert (ledger.steps, ledger.samples, ledger.forward_samples, ledger.backward_samples) == (60, NUM, NUM, NUM)
    assert run.method.accuracy == pytest.approx(right, abs=0.01)
    run.method.accuracy = run.method.best = 0.92
    assert run.method.describe() == {"train_accuracy": 0.92, "num_largest": 5}
    train(run)
    assert (ledger.steps, ledger.samples) == (120, NUM + NUM // 4)
    assert (ledger.forward_samples, ledger.flops) == (2 * NUM, 6.0 * NUM), "passes are over whole batches"
    assert run.method.accuracy == pytest.approx(right, abs=0.01)
    assert visits(run).sum() == NUM + NUM // 4


def test_the_number_never_grows_again():
    run = make_run("ordered-sgd", batch_size=BATCH_SIZE)
    run.method.batch_size, found = 128, [128]
    for percent in (75, 81, 79, 91, 88, 96, 94, 99.6, 99.1):
        run.method.hits[0], run.method.hits[1] = percent, 100
        run.method.end_epoch(run.ranks)
        found.append(run.method.num_largest())
    assert found == [128, 128, 64, 64, 32, 32, 16, 16, 8, 8]


def test_as_long_as_all_losses_count_the_run_is_that_of_uniform():
    ordered, uniform = make_run("ordered-sgd", lr=0.01), make_run("uniform", lr=0.01)
    for run in (ordered, uniform):
        train(run)
    assert ordered.method.num_largest() == BATCH_SIZE
    assert torch.equal(ordered.model.linear.weight, uniform.model.linear.weight)
    assert np.array_equal(visits(ordered), visits(uniform))


def test_options():
    assert made("ordered-sgd").keep_fraction is None
    assert made("ordered-sgd", ranks=Ranks(0, 2)).batch_size == 5
    assert made("ordered-sgd", keep=0.01).num_largest() == 1
    with pytest.raises(ValueError, match=r"keep must be above 0 and at most 1, got 1\.5"):
        made("ordered-sgd", keep=1.5)
