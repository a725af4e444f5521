"""Selective backprop: the formula of its chances, and what a run with it trains on and pays."""

import numpy as np
import pytest
import torch

from tests.training.methods.toy import BATCH_SIZE, IMAGES, LABELS, NUM, check_counts, made, make_run, train, visits
from training.methods.within_batch.selective_backprop import HISTORY, keep_by_loss, percentiles, remember
from training.step.losses import sample_losses


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_percentiles_against_numpy(rng):
    history = torch.from_numpy(rng.integers(0, 30, 200).astype(np.float32))  # with ties
    losses = torch.cat([history[:20], torch.tensor([-1.0, 99.0, 7.5])])
    below = (history.numpy() < losses.numpy()[:, None]).mean(1)
    equal = (history.numpy() == losses.numpy()[:, None]).mean(1)
    assert percentiles(losses, history, strict=True).numpy() == pytest.approx(below)
    assert percentiles(losses, history).numpy() == pytest.approx(below + equal / 2)


@pytest.mark.parametrize("keep", [0.5, 0.3, 0.2])
def test_the_fraction_is_kept_and_large_losses_are_preferred(rng, keep):
    beta, history, kept, num, chosen, all_losses = 1 / keep - 1, torch.zeros(0), 0, 0, [], []
    for _ in range(400):
        losses = torch.from_numpy(rng.exponential(size=64).astype(np.float32))
        history = remember(history, losses)
        if len(history) == HISTORY:
            positions = keep_by_loss(losses, history, beta, torch.from_numpy(rng.random(64)))
            kept, num = kept + len(positions), num + 64
            chosen.append(losses[positions])
            all_losses.append(losses)
    assert len(history) == HISTORY
    error = 4 * np.sqrt(keep * (1 - keep) / num)
    assert abs(kept / num - keep) < error
    # The chance to stay is percentile^beta, so the mean of the chosen ones' percentiles is known.
    ranks = torch.searchsorted(torch.cat(all_losses).sort().values, torch.cat(chosen)).double() / num
    assert ranks.mean().item() == pytest.approx((beta + 1) / (beta + 2), abs=0.01)


def test_equal_losses_are_kept_by_half_a_chance_and_never_in_the_reference(rng):
    losses, draws = torch.ones(4000), torch.from_numpy(rng.random(4000))
    kept = keep_by_loss(losses, torch.ones(HISTORY), 3.0, draws)
    assert len(kept) / 4000 == pytest.approx(1 / 8, abs=0.02)
    assert len(keep_by_loss(losses, torch.ones(HISTORY), 3.0, draws, strict=True)) == 0


@pytest.mark.parametrize("mix", [False, True])
def test_a_run_pays_a_forward_pass_for_every_image_and_trains_on_the_fraction(mix):
    run = make_run("selective-backprop", lr=1e-3, mix=mix, keep=0.25)
    train(run)
    prime = -(-HISTORY // BATCH_SIZE) - 1  # the batch that fills the history is chosen from
    assert run.model.passes[False] == NUM
    assert prime <= run.ledger.steps <= prime + 3
    assert run.method.describe() == {"remembered": HISTORY}
    before = run.ledger.samples
    train(run, 8)
    check_counts(run)
    assert run.model.passes[False] == 9 * NUM
    assert (run.ledger.samples - before) / (8 * NUM) == pytest.approx(0.25, abs=0.02)
    assert run.ledger.samples == BATCH_SIZE * run.ledger.steps, "batches are whole, carried over from epoch to epoch"
    assert run.model.training


def test_the_reference_trains_on_all_of_the_first_epoch():
    run = make_run("selective-backprop", keep=0.25, compat="arazo")
    train(run)
    assert visits(run).tolist() == [1] * NUM
    train(run)
    assert 0.15 * NUM < run.ledger.samples - NUM < 0.35 * NUM


def test_a_run_prefers_large_losses():
    run = make_run("selective-backprop", lr=1e-6, keep=0.25)
    train(run, 10)
    with torch.no_grad():
        losses = sample_losses(run.model(IMAGES), LABELS)
    ranks = losses.argsort().argsort().double() / NUM
    chosen = torch.tensor(visits(run)).double() - HISTORY / NUM
    assert ((chosen * ranks).sum() / chosen.sum()).item() == pytest.approx(4 / 5, abs=0.04)  # beta is 3


def test_it_is_said_when_nothing_is_kept_for_ever():
    run = make_run("selective-backprop", lr=1e-9, keep=0.25, compat="arazo")
    with torch.no_grad():
        run.model.linear.weight.zero_()
    with pytest.raises(ValueError, match="their losses are all equal"):
        train(run, 3)


def test_the_budget_is_the_fraction_that_is_kept_of_all_samples():
    method = made("selective-backprop", budget=0.4)
    assert (method.keep_fraction, len(method.plan(0))) == (0.4, 200)
    assert made("selective-backprop", budget=0.4, keep=0.25).keep_fraction == 0.25
    in_flops = made("selective-backprop", budget=0.4, budget_unit="flops", epoch_fraction=0.5)
    assert (in_flops.keep_fraction, len(in_flops.plan(0))) == (0.4, 100)
    assert made("selective-backprop", budget=60, budget_unit="seconds").keep_fraction == pytest.approx(1 / 3)


def test_a_fraction_of_all_is_refused():
    with pytest.raises(ValueError, match="keeps a fraction of each batch: give --keep or a --budget below 1"):
        made("selective-backprop", budget=1.0)
    with pytest.raises(ValueError, match=r"keep must be above 0 and at most 1, got 1\.5"):
        made("selective-backprop", keep=1.5)
