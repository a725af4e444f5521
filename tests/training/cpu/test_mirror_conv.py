"""The folded convolution against the one that it stands for, in double precision; and what it promises to the bit."""

import copy

import pytest
import torch
import torch.nn.functional as F

from training.cpu.mirror_conv import can_convolve, mirror_conv
from training.cpu.team import has_matrix_unit
from training.mirror import MirrorConv2d
from training.models import build_model


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bfloat16(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed)).bfloat16().to(memory_format=torch.channels_last)


def conv(channels_in, channels_out, seed=0):
    layer = MirrorConv2d(channels_in, channels_out)
    with torch.no_grad():
        layer.weight.normal_(generator=seeded(seed))
    return layer.to(memory_format=torch.channels_last)


def mirrored(x):
    """What x becomes when the picture is mirrored: flipped, the halves exchanged."""
    return x.flip(3).roll(x.shape[1] // 2, 1)


def relative(value, expected):
    return ((value.double() - expected).norm() / expected.norm()).item()


SHAPES = [  # pictures, channels in and out, height and width
    (3, 64, 128, 7, 6),
    (16, 64, 64, 11, 11),
    (9, 192, 192, 5, 5),
    (40, 256, 256, 2, 2),
    (1, 64, 64, 1, 1),
    (7, 32, 96, 5, 9),  # halves that are no multiple of a tile
    (4, 96, 32, 6, 4),
    (2, 160, 224, 3, 3),
]


@pytest.mark.parametrize(("batch", "channels_in", "channels_out", "height", "width"), SHAPES)
def test_is_the_mirrored_convolution(batch, channels_in, channels_out, height, width):
    """Within the rounding of inputs, filters and outputs to bfloat16, of 2^-9 each at most."""
    layer = conv(channels_in, channels_out)
    x, grad = bfloat16(batch, channels_in, height, width), bfloat16(batch, channels_out, height, width, seed=1)
    exact, exact_x = copy.deepcopy(layer).double(), x.double().requires_grad_()
    expected = exact(exact_x)
    expected.backward(grad.double())
    x.requires_grad_()
    y = mirror_conv(x, layer.weight)
    y.backward(grad)
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert relative(y, expected) < 0.005
    assert relative(x.grad, exact_x.grad) < 0.005
    assert relative(layer.weight.grad, exact.weight.grad) < 0.004


@pytest.mark.parametrize("width", [5, 6])
def test_commutes_with_mirroring_to_the_bit(width):
    layer, x = conv(64, 96), bfloat16(5, 64, 7, width)
    assert torch.equal(mirror_conv(mirrored(x), layer.weight), mirrored(mirror_conv(x, layer.weight)))


def test_whole_numbers_are_exact():
    """Small whole numbers have no rounding, so every place of every channel is checked, edges too."""
    layer = conv(32, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-1, 2, layer.weight.shape, generator=seeded()) * 8)
    x = torch.randint(-1, 2, (6, 32, 5, 4), generator=seeded(1)).bfloat16()
    x[:, :, :, 1:3] = 0  # so that sums stay below 256
    x[:, :, 1:4] = 0
    expected = layer(x.float())
    assert expected.abs().max() < 256
    assert torch.equal(mirror_conv(x, layer.weight).float(), expected)


def test_does_not_depend_on_the_number_of_threads():
    layer, x = conv(64, 128), bfloat16(50, 64, 7, 7).requires_grad_()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(
                (y := mirror_conv(x, layer.weight), *torch.autograd.grad(y.float().sum(), (x, layer.weight)))
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_memory_in_another_order_and_a_frozen_input():
    layer, x, grad = conv(64, 64), bfloat16(3, 64, 5, 5), bfloat16(3, 64, 5, 5, seed=1)
    y = mirror_conv(x, layer.weight)
    (expected,) = torch.autograd.grad(y, layer.weight, grad)
    other = mirror_conv(x.contiguous(), layer.weight.contiguous())
    assert torch.equal(y, other)
    assert not x.requires_grad
    (result,) = torch.autograd.grad(other, layer.weight, grad.contiguous())
    assert torch.equal(result, expected)


@pytest.mark.skipif(has_matrix_unit(), reason="with AMX torch's convolutions are taken")
def test_is_taken_where_it_applies():
    x, weight = bfloat16(2, 64, 4, 4), conv(64, 64).weight
    assert can_convolve(x, weight)
    assert not can_convolve(x.float(), weight)
    assert not can_convolve(bfloat16(2, 24, 4, 4), weight)
    assert not can_convolve(x, conv(64, 40).weight)
    assert not can_convolve(x, weight.bfloat16())


def test_the_network_has_the_gradient_of_its_plain_layers(monkeypatch):
    """RebarNet in bfloat16 by compiled layers is as near to itself in float32 as by torch's."""
    images = torch.randn(32, 3, 32, 32, generator=seeded()).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (32,), generator=seeded(1))

    def gradient(bf16):
        model = build_model("rebarnet", 10, generator=seeded(), whitening_images=images)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    exact, compiled = gradient(False), gradient(True)
    for module, name in (
        ("training.mirror", "can_convolve"),
        ("training.rebarnet", "can_pool"),
        ("training.rebarnet", "can_norm"),
    ):
        monkeypatch.setattr(f"{module}.{name}", lambda *_: False)
    plain = gradient(True)
    assert not torch.equal(plain, compiled)
    assert relative(compiled, exact.double()) < 1.5 * relative(plain, exact.double())
