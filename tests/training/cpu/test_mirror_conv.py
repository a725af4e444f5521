"""The folded convolution against the one that it stands for, in double precision; and what it promises to the bit."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F

from training.cpu import mirror_conv as module
from training.cpu import whole_factors as contexts
from training.cpu.mirror_conv import can_convolve, mirror_conv
from training.cpu.whole_factors import whole_factors
from training.cpu.winograd import rows_of_line
from training.models.build import build_model
from training.models.mirror import MirrorConv2d


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


DTYPES = [torch.float32, torch.bfloat16, torch.int16]  # of what is multiplied


def images_of(dtype):
    return torch.bfloat16 if dtype == torch.int16 else dtype


def normal(*shape, seed=0, dtype=torch.bfloat16):
    return torch.randn(shape, generator=seeded(seed)).to(images_of(dtype)).to(memory_format=torch.channels_last)


def convolved(x, weight, dtype):
    with whole_factors() if dtype == torch.int16 else contextlib.nullcontext():
        return mirror_conv(x, weight)


def conv(channels_in, channels_out, seed=0):
    layer = MirrorConv2d(channels_in, channels_out)
    with torch.no_grad():
        layer.weight.normal_(generator=seeded(seed))
    return layer.to(memory_format=torch.channels_last)


def mirrored(x):
    """What x becomes when the image is mirrored: flipped, the halves exchanged."""
    return x.flip(3).roll(x.shape[1] // 2, 1)


def relative(value, expected):
    return ((value.double() - expected).norm() / expected.norm()).item()


SHAPES = [  # images, channels in and out, height and width
    (3, 64, 128, 7, 6),
    (16, 64, 64, 11, 11),
    (9, 192, 192, 5, 5),
    (40, 256, 256, 2, 2),
    (1, 64, 64, 1, 1),
    (7, 32, 96, 5, 9),  # halves that are no multiple of a tile
    (4, 96, 32, 6, 4),
    (2, 160, 224, 3, 3),
    (2, 64, 96, 10, 3),
    (60, 32, 32, 5, 5),
    (5, 224, 192, 9, 4),
]


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-6), (torch.bfloat16, 0.005), (torch.int16, 0.005)])
@pytest.mark.parametrize(("batch", "channels_in", "channels_out", "height", "width"), SHAPES)
def test_is_the_mirrored_convolution(batch, channels_in, channels_out, height, width, dtype, rounding):
    """Within the rounding of inputs, filters and outputs, to bfloat16 of 2^-9 each at most. Of types of two bytes the
    gradient of the filters has 1.7 times these errors where it takes four rows at a time."""
    layer = conv(channels_in, channels_out)
    x = normal(batch, channels_in, height, width, dtype=dtype)
    grad = normal(batch, channels_out, height, width, seed=1, dtype=dtype)
    exact, exact_x = copy.deepcopy(layer).double(), x.double().requires_grad_()
    expected = exact(exact_x)
    expected.backward(grad.double())
    x.requires_grad_()
    y = convolved(x, layer.weight, dtype)
    y.backward(grad)
    assert y.dtype == x.grad.dtype == images_of(dtype)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert relative(y, expected) < rounding
    assert relative(x.grad, exact_x.grad) < rounding
    growth = 1.7 if dtype != torch.float32 and rows_of_line(height) == 4 else 1
    assert relative(layer.weight.grad, exact.weight.grad) < growth * rounding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [5, 6])
def test_commutes_with_mirroring_to_the_bit(width, dtype):
    layer, x = conv(64, 96), normal(5, 64, 7, width, dtype=dtype)
    ahead, behind = (convolved(images, layer.weight, dtype) for images in (x, mirrored(x)))
    assert torch.equal(behind, mirrored(ahead))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("height", [3, 5, 6, 7, 8, 9, 10])
def test_whole_numbers_are_exact(height, dtype):
    """Small whole numbers have no rounding two rows at a time, far less than eight four at a time: so every place of
    every channel is checked, edges too."""
    weight = torch.randint(-1, 2, (32, 32, 3, 3), generator=seeded()).float() * 8
    weight = weight.to(memory_format=torch.channels_last)
    x = torch.randint(-1, 2, (6, 32, height, 4), generator=seeded(1)).to(images_of(dtype))
    x = x.contiguous(memory_format=torch.channels_last)
    x[:, :, :, 1:3] = 0  # so that sums stay below 256
    x[:, :, 1:-1] = 0
    expected = F.conv2d(x.float(), torch.cat((weight, mirrored(weight))), padding=1)
    assert expected.abs().max() < 256
    difference = (convolved(x, weight, dtype).float() - expected).abs().max()
    has_four_rows = rows_of_line(height) == 4 and dtype != torch.bfloat16
    assert difference <= (0 if not has_four_rows else 1e-4 if dtype == torch.float32 else 0.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_does_not_depend_on_the_number_of_threads(dtype):
    layer, x = conv(64, 128), normal(50, 64, 7, 7, dtype=dtype).requires_grad_()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(
                (y := convolved(x, layer.weight, dtype), *torch.autograd.grad(y.float().sum(), (x, layer.weight)))
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_memory_in_another_order_and_a_frozen_input():
    layer, x, grad = conv(64, 64), normal(3, 64, 5, 5), normal(3, 64, 5, 5, seed=1)
    y = mirror_conv(x, layer.weight)
    (expected,) = torch.autograd.grad(y, layer.weight, grad)
    other = mirror_conv(x.contiguous(), layer.weight.contiguous())
    assert torch.equal(y, other)
    assert not x.requires_grad
    (result,) = torch.autograd.grad(other, layer.weight, grad.contiguous())
    assert torch.equal(result, expected)


def test_is_taken_where_it_applies(monkeypatch):
    monkeypatch.setattr(contexts, "has_products", lambda dtype: dtype in (torch.bfloat16, torch.int16))
    monkeypatch.setattr(module, "has_matrix_unit", lambda: False)
    x, weight = normal(2, 64, 4, 4), conv(64, 64).weight
    assert can_convolve(x, weight)
    assert not can_convolve(x.float(), weight)
    assert not can_convolve(normal(2, 24, 4, 4), weight)
    assert not can_convolve(x, conv(64, 40).weight)
    assert not can_convolve(x, weight.bfloat16())
    monkeypatch.setattr(module, "has_matrix_unit", lambda: True)  # there torch's are ahead
    assert not can_convolve(x, weight)
    monkeypatch.setattr(contexts, "has_products", lambda dtype: dtype == torch.int16)
    assert not can_convolve(x, weight)
    with whole_factors():
        assert can_convolve(x, weight)
        assert not can_convolve(x.float(), weight)


def test_the_network_has_the_gradient_of_its_plain_layers(monkeypatch):
    """By compiled layers RebarNet is, in either type, as near to itself in double precision as by torch's."""
    images = torch.randn(8, 3, 32, 32, generator=seeded()).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (8,), generator=seeded(1))

    def gradient(dtype, is_compiled):
        monkeypatch.setattr(contexts, "has_products", lambda dtype: is_compiled)
        monkeypatch.setattr(module, "has_matrix_unit", lambda: False)
        model = build_model("rebarnet", 10, generator=seeded(), whitening_images=images)
        for layer in model.modules():  # no identities: of maxima that are equal each rounding would choose another
            if isinstance(layer, MirrorConv2d):
                torch.nn.init.normal_(layer.weight, std=0.03, generator=seeded())
        x = images
        if dtype == torch.float64:
            model, x = model.double(), images.double()
        formats = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
        with whole_factors() if dtype == torch.int16 else formats:
            logits = model(x)
        F.cross_entropy(logits.to(x.dtype), labels).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    exact = gradient(torch.float64, False)
    for dtype in (torch.float32, torch.bfloat16):
        plain, compiled = gradient(dtype, False), gradient(dtype, True)
        assert not torch.equal(plain, compiled)
        assert relative(compiled, exact) < 1.5 * relative(plain, exact)
    assert relative(gradient(torch.int16, True), exact) < relative(compiled, exact)  # than bfloat16


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e20])
def test_whole_factors_of_any_size_overflow_nowhere(size):
    """Sums as large as they can be: all images alike, and filters that all add up."""
    layer = conv(192, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(layer.weight.shape, generator=seeded()) + 0.5)
    x = torch.full((30, 192, 7, 6), size).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    grad = torch.full((30, 64, 7, 6), 1 / size).bfloat16().to(memory_format=torch.channels_last)
    exact, exact_x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    exact(exact_x).backward(grad.double())
    y = convolved(x, layer.weight, torch.int16)
    y.backward(grad)
    assert relative(y, exact(exact_x)) < 0.004  # of which bfloat16 may be 2^-9
    assert relative(x.grad, exact_x.grad) < 0.004
    assert relative(layer.weight.grad, exact.weight.grad) < 0.002


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_in_whole_factors(value):
    layer, x = conv(32, 32), normal(4, 32, 5, 4)
    x[1, 3, 2, 2] = value
    x.requires_grad_()
    y = convolved(x, layer.weight, torch.int16)
    assert not y[1].isfinite().all()
    y.backward(torch.ones_like(y))
    assert not layer.weight.grad.isfinite().all()


def test_nothing_times_nothing_is_nothing_in_whole_factors():
    layer, x = conv(32, 32), torch.zeros(4, 32, 5, 4).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    with torch.no_grad():
        layer.weight.zero_()
    y = convolved(x, layer.weight, torch.int16)
    y.backward(torch.zeros_like(y))
    assert not y.any()
    assert not x.grad.any()
    assert not layer.weight.grad.any()
