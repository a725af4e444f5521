"""A mirrored convolution by the compiled tasks, and its gradient. Knows tensors; knows no layer."""

import torch
from torch import Tensor

from training.cpu.convolve import convolve
from training.cpu.filter_gradient import filter_gradient
from training.cpu.lanes import LANES
from training.cpu.packing import pack, pack_transposed
from training.cpu.team import has_matrix_unit
from training.cpu.whole_factors import factors_of, takes_images


def can_convolve(x: Tensor, weight: Tensor) -> bool:
    """Whether `mirror_conv` takes these, and is ahead of torch's convolution."""
    return (
        not torch.compiler.is_compiling()
        and takes_images(x.dtype)
        and not (factors_of(x.dtype) == torch.bfloat16 and has_matrix_unit())
        and x.device.type == "cpu"
        and weight.dtype == torch.float32
        and x.shape[1] % (2 * LANES) == 0
        and weight.shape[0] % LANES == 0
    )


def mirror_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Images [B, 2 C, H, W], float32 or bfloat16, and filters float32 [D, 2 C, 3, 3] of the outputs' first half ->
    [B, 2 D, H, W]."""
    return _MirrorConv.apply(x, weight)


class _MirrorConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        ctx.save_for_backward(x, weight)
        ctx.factors = factors = factors_of(x.dtype)
        return convolve(x, pack(weight, factors, x.shape[2]), len(weight))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        factors, grad_x, grad_weight = ctx.factors, None, None
        if ctx.needs_input_grad[0]:
            grad_x = convolve(grad, pack_transposed(weight, factors, x.shape[2]), x.shape[1] // 2)
        if ctx.needs_input_grad[1]:
            grad_weight = filter_gradient(x, grad, factors)
        return grad_x, grad_weight
