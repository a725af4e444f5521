"""The maximum over 3 by 3 places, two apart, and its gradient, as compiled tasks. Knows tensors; knows no layer.

As torch's `max_pool2d(x, 3, 2)`, whose gradient clears a whole image and then scatters: here each place of the
image gathers from the windows that it lies in, and is written once.
"""

import torch
from torch import Tensor

from training.cpu.formats import load_number, load_where, size_of, store_number
from training.cpu.lanes import LANES, choose_larger, every, store_bytes
from training.cpu.team import block_of_work, run, unpack
from training.cpu.whole_factors import takes_images


def can_pool(x: Tensor) -> bool:
    """Whether `max_pool` takes this."""
    return (
        not torch.compiler.is_compiling()
        and takes_images(x.dtype)
        and x.device.type == "cpu"
        and x.shape[1] % LANES == 0
        and min(x.shape[2:]) >= 3
    )


def max_pool(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, (H - 1) // 2, (W - 1) // 2]; of equal maxima the first gets the gradient."""
    return _MaxPool.apply(x)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = ctx.shape = x.shape
        shape = batch, channels, (height - 1) // 2, (width - 1) // 2
        y, taps = (
            torch.empty(shape, dtype=dtype, memory_format=torch.channels_last) for dtype in (x.dtype, torch.uint8)
        )
        run(_pool_image, x.dtype, batch, x.data_ptr(), y.data_ptr(), taps.data_ptr(), height, width, channels)
        ctx.save_for_backward(taps)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (taps,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = ctx.shape
        grad_x = torch.empty(ctx.shape, dtype=grad.dtype, memory_format=torch.channels_last)
        addresses = grad.data_ptr(), taps.data_ptr(), grad_x.data_ptr()
        run(_gather_image, grad.dtype, batch, *addresses, height, width, channels)
        return grad_x


@block_of_work
def _pool_image(dtype, image, scratch, numbers):
    """Writes the maxima, and which of its window's nine places each is."""
    x, y, taps, height, width, channels = unpack(numbers, 6)
    size, out_height, out_width = size_of(dtype), (height - 1) // 2, (width - 1) // 2
    x += size * image * height * width * channels
    y += size * image * out_height * out_width * channels
    taps += image * out_height * out_width * channels
    for i in range(out_height):
        for j in range(out_width):
            corner, to = (2 * i * width + 2 * j) * channels, (i * out_width + j) * channels
            for c in range(0, channels, LANES):
                best, tap = load_number(dtype, x + size * (corner + c)), every(0.0)
                for k in range(1, 9):
                    value = load_number(dtype, x + size * (corner + (k // 3 * width + k % 3) * channels + c))
                    tap = choose_larger(value, best, every(float(k)), tap)
                    best = choose_larger(value, best, value, best)
                store_number(dtype, y + size * (to + c), best)
                store_bytes(taps + to + c, tap)


@block_of_work
def _gather_image(dtype, image, scratch, numbers):
    grad, taps, grad_x, height, width, channels = unpack(numbers, 6)
    size, out_height, out_width = size_of(dtype), (height - 1) // 2, (width - 1) // 2
    grad += size * image * out_height * out_width * channels
    taps += image * out_height * out_width * channels
    grad_x += size * image * height * width * channels
    for h in range(height):
        above, below = max((h - 1) // 2, 0), min(h // 2, out_height - 1)  # the windows' rows: none, one or two
        for w in range(width):
            left, right = max((w - 1) // 2, 0), min(w // 2, out_width - 1)
            to = grad_x + size * (h * width + w) * channels
            for c in range(0, channels, LANES):
                total = every(0.0)
                if above <= below and left <= right:
                    total = _from_window(dtype, grad, taps, h, w, above, left, out_width, channels, c)
                    if left < right:
                        total = total + _from_window(dtype, grad, taps, h, w, above, right, out_width, channels, c)
                    if above < below:
                        total = total + _from_window(dtype, grad, taps, h, w, below, left, out_width, channels, c)
                    if above < below and left < right:
                        total = total + _from_window(dtype, grad, taps, h, w, below, right, out_width, channels, c)
                store_number(dtype, to + size * c, total)


@block_of_work
def _from_window(dtype, grad, taps, h, w, i, j, out_width, channels, c):
    """What a place gets of a window's gradient: all, where it is the maximum."""
    at = (i * out_width + j) * channels + c
    return load_where(dtype, grad + size_of(dtype) * at, taps + at, (h - 2 * i) * 3 + w - 2 * j)
