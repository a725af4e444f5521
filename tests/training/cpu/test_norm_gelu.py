"""Norm and GELU in compiled tasks against torch's layers in double precision."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from training.cpu import norm_gelu as module
from training.cpu.norm_gelu import can_norm, norm_gelu
from training.models.mirror import side_by_side, stacked


def make_norm(channels, is_training):
    draw = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm2d(channels, momentum=0.2)
    norm.weight.requires_grad_(False)
    with torch.no_grad():
        norm.bias.normal_(generator=draw)
        norm.running_mean.normal_(generator=draw)
        norm.running_var.uniform_(0.5, 2, generator=draw)
    return norm.train(is_training)


def relative(value, expected):
    return ((value.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 2.0**-9)])
@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("shape", [(3, 64, 7, 6), (50, 32, 11, 11), (2, 96, 1, 1)])
def test_is_torchs_norm_and_gelu(shape, is_training, dtype, rounding):
    draw = torch.Generator().manual_seed(1)
    norm = make_norm(shape[1] // 2, is_training)
    exact = copy.deepcopy(norm).double()
    x = (2 * torch.randn(shape, generator=draw) + 3).to(dtype).to(memory_format=torch.channels_last)
    grad = torch.randn(shape, generator=draw).to(dtype)
    exact_x = x.double().requires_grad_()
    expected = stacked(F.gelu(exact(side_by_side(exact_x))))
    expected.backward(grad.double())
    x.requires_grad_()
    y = norm_gelu(x, norm)
    y.backward(grad)
    assert relative(y, expected) < rounding
    assert relative(x.grad, exact_x.grad) < rounding
    assert relative(norm.bias.grad, exact.bias.grad) < 1e-5
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(norm, name).double(), getattr(exact, name).double(), rtol=1e-5, atol=1e-5)


def test_numbers_that_are_nearly_alike():
    """Their variance may come out below zero."""
    norm = make_norm(32, is_training=True)
    x = 3000 + 1e-3 * torch.randn(50, 64, 9, 9, generator=torch.Generator().manual_seed(1))
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    y = norm_gelu(x, norm)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert (norm.running_var >= 0).all()


def test_gelu_of_every_bfloat16():
    """From the most negative number to the largest, through a norm that changes nothing."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    x = x[x.isfinite()]
    x = x[: len(x) // 16 * 16].reshape(1, 16, 1, -1).to(memory_format=torch.channels_last)
    norm = nn.BatchNorm2d(16, eps=0).eval()
    expected = F.gelu(x.double())
    error = (norm_gelu(x, norm).double() - expected).abs()
    assert (error <= 2.0**-8 * expected.abs() + 1e-6).all()


def test_is_taken_where_it_applies(monkeypatch):
    monkeypatch.setattr(module, "takes_images", lambda dtype: dtype == torch.bfloat16)
    x, norm = torch.randn(2, 64, 4, 4).bfloat16(), make_norm(32, True)
    assert can_norm(x, norm)
    assert not can_norm(x.float(), norm)
    assert not can_norm(x, make_norm(24, True))
    norm.weight.requires_grad_(True)
    assert not can_norm(x, norm)
