"""RHO-LOSS: which images stay, against NumPy, and what a run with it pays."""

import numpy as np
import pytest
import torch

from loaders.types import Batch, Mix
from tests.training.methods.toy import BATCH_SIZE, CLASSES, NUM, check_counts, made, make_run, train, visits
from training.methods import make_method
from training.methods.base import Context
from training.methods.within_batch.rho_loss import reducible_losses


def test_the_score_is_the_loss_less_that_of_the_reference():
    rng = np.random.default_rng(0)
    logits, reference = rng.normal(size=(6, CLASSES)), rng.exponential(size=20)
    ids = np.array([3, 19, 0, 7, 7, 2])
    labels = ids % CLASSES
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), labels]
    batch = Batch(torch.zeros(6, 3, 2, 2), torch.from_numpy(labels), torch.from_numpy(ids))
    got = reducible_losses(torch.from_numpy(logits), batch, torch.from_numpy(reference))
    assert got.numpy() == pytest.approx(losses - reference[ids], rel=1e-5)
    shares = torch.tensor([[0.75, 0.25]]).expand(6, 2)
    pairs = torch.from_numpy(np.stack([ids, np.roll(ids, 1)], axis=1))
    mixed = Batch(torch.zeros(6, 3, 2, 2), pairs % CLASSES, pairs, None, Mix(None, shares))
    got = reducible_losses(torch.from_numpy(logits), mixed, torch.from_numpy(reference))
    second = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), np.roll(labels, 1)]
    wanted = 0.75 * (losses - reference[ids]) + 0.25 * (second - reference[np.roll(ids, 1)])
    assert got.numpy() == pytest.approx(wanted, rel=1e-5)


def test_the_largest_of_each_batch_stay():
    method = made("rho-loss", 200, batch_size=10, keep=0.5)
    ids = torch.arange(40, 50)
    batch = Batch(torch.arange(10.0)[:, None, None, None].expand(10, 3, 2, 2), ids % CLASSES, ids)
    assert method.select(batch, method.plan(0), 0, lambda batch: torch.zeros(10, CLASSES)) is None
    easiest_for_others = np.argsort(method.reference[ids].numpy())[:5]
    assert sorted(method.held.ids.tolist()) == sorted((40 + easiest_for_others).tolist())


def test_reference_losses_are_those_of_the_core_sets_ids():
    ids = np.array([2, 5, 11, 17, 30, 31, 32, 33, 34, 35])
    method = made("rho-loss", 40, subset=ids, batch_size=5, keep=0.5)
    values = np.random.default_rng(1).exponential(size=10).astype(np.float32)
    assert method.reference[ids].tolist() == values.tolist()
    assert np.isin(method.plan(0).ids, ids).all()


@pytest.mark.parametrize("mix", [False, True])
def test_a_run_pays_a_forward_pass_for_each_image(mix):
    run = make_run("rho-loss", lr=0.05, mix=mix, keep=0.1)
    train(run, 2)
    assert run.model.passes[False] == 2 * NUM
    assert run.ledger.steps == 2 * NUM // 10 // BATCH_SIZE
    check_counts(run)
    assert visits(run).sum() == pytest.approx(NUM / 5)


def test_it_needs_a_reference():
    config = make_run("rho-loss", keep=0.5).config
    with pytest.raises(ValueError, match="rho-loss needs the losses of a reference network: make them with"):
        make_method(Context(config, NUM))
