"""The compiled pool against torch's."""

import pytest
import torch
import torch.nn.functional as F

from training.cpu import max_pool as module
from training.cpu.max_pool import can_pool, max_pool

DTYPES = [torch.float32, torch.bfloat16]


def whole_numbers(*shape, seed=0, dtype=torch.bfloat16):
    """Many equal ones among them, and sums of four are exact."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-8, 9, shape, generator=draw).to(dtype).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 32, 7, 6), (2, 16, 5, 5), (2, 48, 3, 3), (8, 64, 23, 23), (1, 16, 4, 9)])
def test_is_torchs_pool(shape, dtype):
    x, other = (whole_numbers(*shape, dtype=dtype).requires_grad_() for _ in range(2))
    y, expected = max_pool(x), F.max_pool2d(other, 3, 2)
    assert torch.equal(y, expected)
    grad = whole_numbers(*expected.shape, seed=1, dtype=dtype)
    y.backward(grad)
    expected.backward(grad)
    assert torch.equal(x.grad, other.grad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_a_number_comes_through(dtype):
    x = whole_numbers(1, 16, 5, 5, dtype=dtype)
    x[0, 3, 2, 2] = torch.nan
    assert torch.equal(max_pool(x).isnan(), F.max_pool2d(x, 3, 2).isnan())


def test_is_taken_where_it_applies(monkeypatch):
    monkeypatch.setattr(module, "takes_images", lambda dtype: dtype == torch.bfloat16)
    x = whole_numbers(2, 32, 5, 5)
    assert can_pool(x)
    assert not can_pool(x.float())
    assert not can_pool(x[:, :20])
    assert not can_pool(x[:, :, :2])
