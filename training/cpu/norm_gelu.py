"""Batch norm with a learned shift, then GELU, and their gradient, as compiled tasks. Knows tensors and torch's norms.

torch's two layers pass four times over what three tasks here read twice: the statistics are one pass, normalising and
GELU one more, and the gradient computes both anew from the layer's input in place of storing what is between them.
"""

import math

import torch
from torch import Tensor, nn

from training.cpu.formats import load_number, size_of, store_number
from training.cpu.lanes import LANES, choose_larger, every, exp2, load, store
from training.cpu.team import block_of_work, run, unpack
from training.cpu.whole_factors import takes_images

BLOCK = 128
"""Rows whose sums are formed together, however many threads there are."""


def can_norm(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether `norm_gelu` takes these: a norm that learns no scale, numbers that the processor multiplies."""
    return (
        not torch.compiler.is_compiling()
        and takes_images(x.dtype)
        and x.device.type == "cpu"
        and norm.num_features % LANES == 0
        and not norm.weight.requires_grad
    )


def norm_gelu(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """gelu(norm(x)) of [B, k C, H, W], C the norm's features: its statistics are over all k parts."""
    x = x.contiguous(memory_format=torch.channels_last)
    if not norm.training:
        scale = (norm.running_var + norm.eps).rsqrt()
        return _NormGELU.apply(x, norm.bias, norm.running_mean, scale)
    count, sums = x.numel() // norm.num_features, _sums(_add_moments, x.detach(), norm.num_features)
    mean, square = sums / count
    variance = (square - mean * mean).clamp_min(0)  # of numbers that are nearly all alike rounding may leave less
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.float(), norm.momentum)
        norm.running_var.lerp_((variance * (count / (count - 1))).float(), norm.momentum)
    return _NormGELU.apply(x, norm.bias, mean.float(), (variance + norm.eps).rsqrt().float(), True)


class _NormGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, is_training: bool = False) -> Tensor:
        factors = torch.stack((scale, bias - mean * scale))
        y = torch.empty_like(x)
        rows = x.numel() // len(bias)
        run(_apply_to_block, x.dtype, -(-rows // BLOCK), *(t.data_ptr() for t in (x, y, factors)), rows, len(bias))
        ctx.save_for_backward(x, bias, factors)
        ctx.is_training = is_training
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, factors = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        rows, channels = x.numel() // len(bias), len(bias)
        grad_z = torch.empty_like(x, dtype=torch.float32)
        # of dz and of dz * z, z ahead of the GELU; dz itself is kept, in place of the result where it has its type
        total, product = _sums(_add_gradients, x, channels, grad, factors, grad_z)
        grad_x = grad_z if x.dtype == torch.float32 else torch.empty_like(x)
        scale, grad_bias = factors[0], total.float()
        inner = (product - bias * total) / rows if ctx.is_training else torch.zeros_like(total)
        outer = total / rows if ctx.is_training else torch.zeros_like(total)
        back = torch.stack(
            (-scale * scale * inner, scale * (inner * bias - outer) - scale * inner * factors[1])
        ).float()
        addresses = (t.data_ptr() for t in (x, grad_z, back, factors, grad_x))
        run(_backward_of_block, x.dtype, -(-rows // BLOCK), *addresses, rows, channels)
        return grad_x, grad_bias, None, None, None


def _sums(task, x: Tensor, channels: int, *others: Tensor) -> Tensor:
    """float64 [2, C]: what the task adds up, over all rows."""
    rows = x.numel() // channels
    blocks = -(-rows // BLOCK)
    parts = torch.empty(blocks, 2, channels)
    run(task, x.dtype, blocks, *(t.data_ptr() for t in (x, *others, parts)), rows, channels)
    return parts.sum(0, dtype=torch.float64)


_HALF_LOG2E = -0.5 / math.log(2)
_ROOT = 0.3275911 / math.sqrt(2)


@block_of_work
def _normal(u):
    """Of a standard normal variable: the density times sqrt(2 pi), and the share below u, within 1e-7 (Abramowitz and
    Stegun, 7.1.26)."""
    power = u * u * every(_HALF_LOG2E)
    density = exp2(choose_larger(power, every(-126.0), power, every(-126.0)))
    size = choose_larger(u, every(0.0), u, every(0.0) - u)
    t = every(1.0) / (every(1.0) + size * every(_ROOT))
    tail = every(1.061405429 / 2) * t - every(1.453152027 / 2)
    tail = tail * t + every(1.421413741 / 2)
    tail = tail * t - every(0.284496736 / 2)
    tail = (tail * t + every(0.254829592 / 2)) * t * density
    return density, choose_larger(u, every(0.0), every(1.0) - tail, tail)


@block_of_work
def _add_moments(dtype, block, scratch, numbers):
    """Sums of x and of its squares."""
    x, parts, rows, channels = unpack(numbers, 4)
    parts += 8 * block * channels
    for c in range(0, channels, LANES):
        total = square = every(0.0)
        for row in range(block * BLOCK, min((block + 1) * BLOCK, rows)):
            value = load_number(dtype, x + size_of(dtype) * (row * channels + c))
            total, square = total + value, square + value * value
        store(parts + 4 * c, total)
        store(parts + 4 * (channels + c), square)


@block_of_work
def _apply_to_block(dtype, block, scratch, numbers):
    """y = gelu(scale x + shift)."""
    x, y, factors, rows, channels = unpack(numbers, 5)
    for c in range(0, channels, LANES):
        scale, shift = load(factors + 4 * c), load(factors + 4 * (channels + c))
        for row in range(block * BLOCK, min((block + 1) * BLOCK, rows)):
            at = size_of(dtype) * (row * channels + c)
            u = load_number(dtype, x + at) * scale + shift
            _, below = _normal(u)
            store_number(dtype, y + at, u * below)


@block_of_work
def _add_gradients(dtype, block, scratch, numbers):
    """The gradient at u = scale x + shift, and sums of it and of it times u."""
    x, grad, factors, grad_u, parts, rows, channels = unpack(numbers, 7)
    parts += 8 * block * channels
    for c in range(0, channels, LANES):
        scale, shift = load(factors + 4 * c), load(factors + 4 * (channels + c))
        total = product = every(0.0)
        for row in range(block * BLOCK, min((block + 1) * BLOCK, rows)):
            at = size_of(dtype) * (row * channels + c)
            u = load_number(dtype, x + at) * scale + shift
            density, below = _normal(u)
            value = load_number(dtype, grad + at) * (below + u * density * every(0.3989422804))
            store(grad_u + 4 * (row * channels + c), value)
            total, product = total + value, product + value * u
        store(parts + 4 * c, total)
        store(parts + 4 * (channels + c), product)


@block_of_work
def _backward_of_block(dtype, block, scratch, numbers):
    """The gradient of x: that at u times scale, plus what the statistics take back, a multiple of x and a constant."""
    x, grad_u, back, factors, grad_x, rows, channels = unpack(numbers, 7)
    for c in range(0, channels, LANES):
        scale = load(factors + 4 * c)
        slope, constant = load(back + 4 * c), load(back + 4 * (channels + c))
        for row in range(block * BLOCK, min((block + 1) * BLOCK, rows)):
            at = size_of(dtype) * (row * channels + c)
            value = load(grad_u + 4 * (row * channels + c)) * scale + load_number(dtype, x + at) * slope + constant
            store_number(dtype, grad_x + at, value)
