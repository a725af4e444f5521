"""DivBS: its draws against plain vectors in NumPy, and what a run with it trains on and pays."""

import numpy as np
import pytest
import torch

from loaders.types import EpochPlan
from tests.training.methods.toy import BATCH_SIZE, IMAGES, LABELS, NUM, check_counts, made, make_run, train, visits
from training.loop import train_epoch
from training.methods.within_batch.divbs import draw_diverse, gram


def drawn_by_vectors(gradients: np.ndarray, uniforms: np.ndarray, num: int) -> list[int]:
    """As the paper says it: the residual is the mean gradient less its projections on what was drawn."""
    residual, basis, drawn = gradients.mean(0), [], []
    for uniform in uniforms[:num]:
        chances = np.abs(gradients @ residual)
        chances[drawn] = 0
        ends = np.cumsum(chances)
        drawn.append(int(np.searchsorted(ends, uniform * ends[-1], side="right")))
        direction = gradients[drawn[-1]] - sum((q * (q @ gradients[drawn[-1]]) for q in basis), 0.0)
        basis.append(direction / np.linalg.norm(direction))
        residual = residual - basis[-1] * (basis[-1] @ residual)
    return drawn


def test_draws_are_those_of_the_gradients_as_vectors():
    rng = np.random.default_rng(0)
    for _ in range(20):
        errors, features = rng.normal(size=(30, 4)), rng.exponential(size=(30, 8))
        gradients = (errors[:, :, None] * features[:, None, :]).reshape(30, -1)
        uniforms = rng.random(30)
        products = gram(torch.from_numpy(errors), torch.from_numpy(features))
        assert products.numpy() == pytest.approx(gradients @ gradients.T)
        got = draw_diverse(products, torch.from_numpy(uniforms), 12)
        assert got.tolist() == drawn_by_vectors(gradients, uniforms, 12)


def test_gradients_are_those_of_the_last_layer():
    run = make_run("divbs", keep=0.5)
    ids = torch.arange(8)
    logits = run.model.linear(IMAGES[ids].flatten(1))
    wanted = [
        torch.autograd.grad(
            torch.nn.functional.cross_entropy(x[None], y[None]), run.model.linear.weight, retain_graph=True
        )
        for x, y in zip(logits, LABELS[ids], strict=True)
    ]
    wanted = torch.stack([g.flatten() for (g,) in wanted])
    seen = {}

    def watch(products, uniforms, num):
        seen.update(products=products)
        return torch.arange(num)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.methods.within_batch.divbs.draw_diverse", watch)
        run.plan = EpochPlan(np.arange(BATCH_SIZE))
        assert len(list(train_epoch(run))) == 1
    assert torch.allclose(seen["products"][:8, :8], (wanted @ wanted.T).double(), atol=1e-5)


def test_a_copy_of_what_was_drawn_is_not_drawn():
    """Three directions, many copies of each: one of each comes first, and then any of those that are left."""
    gradients = np.repeat(np.eye(3) + 0.1, 10, axis=0)
    products = torch.from_numpy(gradients @ gradients.T)
    rng = np.random.default_rng(1)
    for _ in range(50):
        got = draw_diverse(products, torch.from_numpy(rng.random(30)), 12).tolist()
        assert {position // 10 for position in got[:3]} == {0, 1, 2}
        assert len(set(got)) == 12
    assert len(set(draw_diverse(torch.zeros(9, 9).double(), torch.rand(9).double(), 9).tolist())) == 9


@pytest.mark.parametrize("mix", [False, True])
def test_a_run_pays_a_forward_pass_for_each_image(mix):
    run = make_run("divbs", lr=0.05, mix=mix, keep=0.25)
    train(run, 2)
    assert run.model.passes[False] == 2 * NUM
    assert run.ledger.steps == 2 * NUM // 4 // BATCH_SIZE
    check_counts(run)
    assert visits(run).sum() == pytest.approx(NUM / 2)


def test_keep_is_checked():
    with pytest.raises(ValueError, match=r"keep must be above 0 and at most 1, got 1\.5"):
        made("divbs", keep=1.5)
