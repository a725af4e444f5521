"""Muon: the mathematics of its update, and its state."""

import pytest
import torch

from training.optim.muon import QUINTIC, Muon, orthogonalise_all


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(32, 8, 3, 3), (64, 4, 3, 3), (16, 16), (96, 5)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    matrix = gaussian(*shape)
    update = orthogonalise_all([matrix], steps=5)[0]
    assert update.shape == matrix.shape
    values = torch.linalg.svdvals(update.flatten(1))
    assert values.max() < 1.3
    assert values.median() > 0.65
    # U S V^T -> U f(S) V^T: in the input's singular basis the update is diagonal
    u, _, vt = torch.linalg.svd(matrix.flatten(1), full_matrices=False)
    inner = u.T @ update.flatten(1) @ vt.T
    torch.testing.assert_close(inner, inner.diagonal().diag(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_equals_the_plain_iteration_on_the_whole_matrix(steps):
    matrix = gaussian(24, 7, 3, 3)
    a, b, c = QUINTIC
    x = matrix.flatten(1).double()
    x = x / x.norm()
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonalise_all([matrix], steps)[0].flatten(1).double(), x, rtol=1e-4, atol=1e-5)


def test_matrices_of_one_shape_together_are_what_they_are_alone():
    shapes = [(16, 4, 3, 3), (8, 3, 3, 3), (16, 4, 3, 3), (36, 16), (16, 36), (16, 4, 3, 3)]
    matrices = [gaussian(*shape, seed=k) for k, shape in enumerate(shapes)]
    matrices[2] = matrices[2].to(memory_format=torch.channels_last)  # its columns lie in another order
    matrices[5] = torch.zeros(16, 4, 3, 3)
    updates = orthogonalise_all(matrices, 3)
    for matrix, update in zip(matrices, updates, strict=True):
        assert update.shape == matrix.shape
        torch.testing.assert_close(update, orthogonalise_all([matrix], 3)[0], rtol=1e-5, atol=1e-6)
    assert not updates[5].any()


def test_filters_of_one_shape_share_their_products(monkeypatch):
    """What the host launches depends on the number of shapes, not of filters."""
    calls = []
    product = torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda *args, **options: calls.append(1) or product(*args, **options))
    orthogonalise_all([gaussian(8, 3, 3, 3), gaussian(8, 3, 3, 3), gaussian(4, 5)], steps=3)
    assert len(calls) == 2 * 3


def test_zero_gradient_gives_zero_update():
    assert not orthogonalise_all([torch.zeros(4, 3, 3, 3)], 3)[0].any()


def test_step_follows_the_formula():
    weight = torch.nn.Parameter(gaussian(8, 3, 3, 3))
    optimizer = Muon([weight], lr=0.1, momentum=0.6)
    expected, buffer = weight.detach().clone(), torch.zeros_like(weight)
    for k in range(3):
        gradient = gaussian(8, 3, 3, 3, seed=k + 1)
        weight.grad = gradient.clone()
        optimizer.step()
        buffer = 0.6 * buffer + gradient
        (update,) = orthogonalise_all([gradient + 0.6 * buffer], 3)
        expected = expected * 8**0.5 / expected.norm() - 0.1 * update
    torch.testing.assert_close(weight.detach(), expected)


def test_a_rate_on_the_device_is_a_rate():
    steps = []
    for lr in (0.1, torch.tensor(0.1)):
        weight = torch.nn.Parameter(gaussian(8, 3, 3, 3))
        weight.grad = gaussian(8, 3, 3, 3, seed=1)
        optimizer = Muon([weight], lr=9.0)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        steps.append(weight.detach())
    torch.testing.assert_close(*steps, rtol=1e-6, atol=1e-7)


def test_state_survives_saving():
    def run(save_after):
        weight = torch.nn.Parameter(gaussian(8, 3, 3, 3))
        optimizer = Muon([weight], lr=0.1)
        for k in range(4):
            if k == save_after:
                saved = optimizer.state_dict()
                optimizer = Muon([weight], lr=9.0)
                optimizer.load_state_dict(saved)
            weight.grad = gaussian(8, 3, 3, 3, seed=k + 1)
            optimizer.step()
        return weight.detach()

    assert torch.equal(run(save_after=None), run(save_after=2))


def test_parameters_without_a_gradient_are_left_alone():
    weight = torch.nn.Parameter(gaussian(4, 4))
    before = weight.detach().clone()
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), before)


def test_refuses_vectors_and_bad_rates():
    with pytest.raises(ValueError, match="give it to SGD"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ValueError, match="momentum"):
        Muon([torch.nn.Parameter(torch.zeros(3, 3))], lr=0.1, momentum=1.0)
