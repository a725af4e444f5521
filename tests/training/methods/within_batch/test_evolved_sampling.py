"""Evolved sampling: its weights against the recursion, by which chances images stay, what a run with it pays."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from loaders.types import Batch, EpochPlan, Mix
from tests.goodness import chi_square
from tests.training.methods.toy import BATCH_SIZE, CLASSES, NUM, check_counts, made, make_run, train, visits
from training.methods.within_batch.evolved_sampling import draw_without_replacement


def some_batch(ids: torch.Tensor, mix: Mix | None = None) -> Batch:
    return Batch(torch.zeros(len(ids), 3, 2, 2), ids % CLASSES, ids, None, mix)


def test_weights_are_those_of_the_recursion_and_of_losses_with_their_differences():
    """w(t) = b1 s(t-1) + (1 - b1) l(t), s(t) = b2 s(t-1) + (1 - b2) l(t), s(0) = 1/N; written out, that is the moving
    average of the losses plus (b2 - b1) times that of their differences."""
    b1, b2, steps = 0.3, 0.8, 12
    method = made("es", 30, beta1=b1, beta2=b2, keep=0.5)
    rng, ids = np.random.default_rng(0), torch.arange(10)
    logits = torch.from_numpy(rng.normal(size=(steps, 10, CLASSES)).astype(np.float32))
    losses = np.stack([F.cross_entropy(x, ids % CLASSES, reduction="none").double().numpy() for x in logits])
    s, got = np.full(10, 1 / 30), None
    for loss, x in zip(losses, logits, strict=True):
        got = method.see(some_batch(ids), x)
        assert got.numpy() == pytest.approx(b1 * s + (1 - b1) * loss, rel=1e-5)
        s = b2 * s + (1 - b2) * loss
    assert method.averages[:10].numpy() == pytest.approx(s, rel=1e-5)
    assert (method.averages[10:] == 1 / 30).all()
    decays = b2 ** np.arange(steps)[::-1, None]
    average = (1 - b2) * (decays * losses).sum(0)
    differences = np.diff(losses, axis=0, prepend=np.full((1, 10), 1 / 30))
    wanted = average + b2**steps / 30 + (b2 - b1) * (decays * differences).sum(0)
    assert got.numpy() == pytest.approx(wanted, rel=1e-4)


def test_the_partners_of_a_mixed_image_move_by_their_fractions():
    method = made("es", 30, beta1=0.2, beta2=0.9, keep=0.5)
    ids = torch.tensor([[3, 4], [5, 3]])
    shares = torch.tensor([[0.75, 0.25], [0.6, 0.4]])
    logits = torch.randn(2, CLASSES, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.zeros(2, 3, 2, 2), ids % CLASSES, ids, None, Mix(None, shares))
    got = method.see(batch, logits)
    losses = -torch.log_softmax(logits, 1).gather(1, ids % CLASSES)
    assert got.numpy() == pytest.approx((shares * (0.2 / 30 + 0.8 * losses)).sum(1).numpy(), rel=1e-5)
    moved = (method.averages - 1 / 30).numpy()
    moves = 0.1 * shares * (losses - 1 / 30)
    assert moved[[3, 4, 5]] == pytest.approx(
        [float(moves[0, 0] + moves[1, 1]), float(moves[0, 1]), float(moves[1, 0])], rel=1e-4
    )
    assert not moved[[0, 1, 2, 6]].any()


def test_images_are_drawn_one_after_another_by_weight():
    weights, rng = torch.tensor([1.0, 2.0, 3.0, 0.0, 6.0]), np.random.default_rng(0)
    pairs = np.zeros((5, 5))
    for _ in range(6000):
        first, second = draw_without_replacement(weights, torch.from_numpy(rng.random(5)), 2).tolist()
        pairs[first, second] += 1
    p = weights.double().numpy() / 12
    wanted = p[:, None] * p / (1 - p[:, None])
    np.fill_diagonal(wanted, 0)
    assert not pairs[wanted == 0].any()
    assert chi_square(pairs[wanted > 0], 6000 * wanted[wanted > 0]) > 1e-3
    assert sorted(draw_without_replacement(torch.zeros(3), torch.rand(3, dtype=torch.float64), 3)) == [0, 1, 2]


def test_an_epoch_is_pruned_by_the_same_weights_but_not_at_its_ends():
    method = made("es", 200, prune_ratio=0.25, anneal=0.1, keep=0.3)
    assert [len(method.plan(1, None, progress)) for progress in (0.0, 0.09, 0.1, 0.89, 0.91)] == [
        200,
        200,
        150,
        150,
        200,
    ]
    method.weights_seen[:] = 0
    method.weights_seen[40:] = 1
    assert method.plan(1, None, 0.5).ids.min() >= 40
    subset = np.arange(0, 200, 2)
    within = made("es", 200, subset=subset, prune_ratio=0.25, keep=0.3)
    assert np.isin(within.plan(1, None, 0.5).ids, subset).all()


@pytest.mark.parametrize("mix", [False, True])
def test_a_run_pays_a_forward_pass_for_each_image_that_it_chooses_from(mix):
    run = make_run("es", lr=0.05, mix=mix, keep=0.25, anneal=0.0)
    train(run, 2)
    assert run.model.passes[False] == 2 * NUM
    assert run.ledger.steps == 2 * NUM // 4 // BATCH_SIZE
    check_counts(run)
    assert visits(run).sum() == pytest.approx(NUM / 2)
    assert run.method.did_not_choose() is None
    assert (run.method.averages != 1 / NUM).all(), "every image was scored"


def test_whole_batches_at_both_ends_cost_no_passes_and_are_remembered():
    run = make_run("es", lr=0.05, keep=0.5, anneal=0.1, fraction=0.5, epochs=4)
    run.budget = type(run.budget)("steps", 100, None)
    while not run.is_over:
        train(run)
    whole = 10 + 10
    assert run.model.passes[False] == pytest.approx((100 - whole) * 2 * BATCH_SIZE, abs=2 * BATCH_SIZE)
    assert run.ledger.steps == 100
    quiet = make_run("es", keep=0.5, anneal=0.4)
    method, batch = quiet.method, some_batch(torch.arange(20))
    assert method.select(batch, EpochPlan(np.arange(20)), 0, SimpleNamespace(progress=0.3)) is batch
    method.keep(batch, torch.zeros(20, CLASSES), torch.zeros(20))
    assert method.averages[:20].numpy() == pytest.approx(0.9 / NUM + 0.1 * np.log(3))
    assert "es trained on whole batches only" in method.did_not_choose()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": 0.0}, "keep must be above 0 and at most 1, got 0"),
        ({"beta1": -0.1}, r"beta1 is at least 0 and at most 1, got -0\.1"),
        ({"beta2": 1.5}, r"beta2 is at least 0 and at most 1, got 1\.5"),
        ({"prune_ratio": 1.0}, "prune_ratio is at least 0 and below 1, got 1"),
        ({"anneal": 0.5}, r"anneal is at least 0 and below 0\.5, got 0\.5"),
    ],
)
def test_options_that_cannot_work(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made("es", **changes)
