"""The maximum over 3 by 3 places, two apart, and its gradient, as compiled tasks on the CPU. Knows tensors; knows no layer.

As torch's `max_pool2d(x, 3, 2)`, whose gradient clears a whole picture and then scatters: here each place of the picture
gathers from the windows that it lies in, and is written once.
"""

import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from training import team
from training.lanes import (
    LANES,
    choose_equal,
    choose_larger,
    every,
    has_bfloat16_products,
    load_bfloat16,
    load_bytes,
    narrow,
    read,
    store_bfloat16,
    store_bytes,
    take_next,
)


def max_pool(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, (H - 1) // 2, (W - 1) // 2]: torch's `max_pool2d(x, 3, 2)`, compiled where it can be."""
    is_compiled = (
        has_bfloat16_products()
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.shape[1] % LANES == 0
        and min(x.shape[2:]) >= 3
        and not torch.compiler.is_compiling()
    )
    return MaxPool.apply(x) if is_compiled else F.max_pool2d(x, 3, 2)


class MaxPool(torch.autograd.Function):
    """bfloat16 [B, C, H, W] -> [B, C, (H - 1) // 2, (W - 1) // 2]; C a multiple of 16, H and W at least 3."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = x.shape
        shape = batch, channels, (height - 1) // 2, (width - 1) // 2
        y, taps = (
            torch.empty(shape, dtype=dtype, memory_format=torch.channels_last) for dtype in (x.dtype, torch.uint8)
        )
        team.run(_pool, batch, x.data_ptr(), y.data_ptr(), taps.data_ptr(), height, width, channels)
        ctx.save_for_backward(taps)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (taps,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = ctx.shape
        grad_x = torch.empty(ctx.shape, dtype=grad.dtype, memory_format=torch.channels_last)
        addresses = (t.data_ptr() for t in (grad, taps, grad_x))
        team.run(_spread_gradient, batch, *addresses, height, width, channels)
        return grad_x


_options = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


@njit(**_options)
def _pool_picture(x, y, taps, height, width, channels):
    out_width = (width - 1) // 2
    for i in range((height - 1) // 2):
        for j in range(out_width):
            corner, to = (2 * i * width + 2 * j) * channels, (i * out_width + j) * channels
            for c in range(0, channels, LANES):
                best, tap = load_bfloat16(x + 2 * (corner + c)), every(0.0)
                for k in range(1, 9):
                    value = load_bfloat16(x + 2 * (corner + (k // 3 * width + k % 3) * channels + c))
                    tap = choose_larger(value, best, every(float(k)), tap)
                    best = choose_larger(value, best, value, best)
                store_bfloat16(y + 2 * (to + c), narrow(best))
                store_bytes(taps + to + c, tap)


def _pool(task):
    """Numbers: x, y, where in its window each maximum lay, height, width, channels; a block is a picture."""
    height, width, channels = read(task, 6), read(task, 7), read(task, 8)
    size, out_size = height * width * channels, (height - 1) // 2 * ((width - 1) // 2) * channels
    block = take_next(task)
    while block < read(task, 2):
        x, y, taps = read(task, 3) + 2 * block * size, read(task, 4) + 2 * block * out_size, read(task, 5) + block * out_size
        _pool_picture(x, y, taps, height, width, channels)
        block = take_next(task)


@njit(**_options)
def _gather_picture(grad, taps, grad_x, height, width, channels):
    out_height, out_width = (height - 1) // 2, (width - 1) // 2
    for h in range(height):
        for w in range(width):
            to = (h * width + w) * channels
            for c in range(0, channels, LANES):
                total = every(0.0)
                for i in range(max((h - 1) // 2, 0), min(h // 2 + 1, out_height)):
                    for j in range(max((w - 1) // 2, 0), min(w // 2 + 1, out_width)):
                        at = (i * out_width + j) * channels + c
                        tap = every(float((h - 2 * i) * 3 + w - 2 * j))
                        value = load_bfloat16(grad + 2 * at)
                        total = total + choose_equal(load_bytes(taps + at), tap, value, every(0.0))
                store_bfloat16(grad_x + 2 * (to + c), narrow(total))


def _spread_gradient(task):
    """Numbers: gradient of y, where in its window each maximum lay, gradient of x, height, width, channels."""
    height, width, channels = read(task, 6), read(task, 7), read(task, 8)
    size, out_size = height * width * channels, (height - 1) // 2 * ((width - 1) // 2) * channels
    block = take_next(task)
    while block < read(task, 2):
        grad, taps = read(task, 3) + 2 * block * out_size, read(task, 4) + block * out_size
        _gather_picture(grad, taps, read(task, 5) + 2 * block * size, height, width, channels)
        block = take_next(task)
