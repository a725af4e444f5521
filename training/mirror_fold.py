"""A mirrored convolution by the compiled tasks of `mirror_kernels`, and its gradient. Knows tensors; knows no layer."""

import torch
from torch import Tensor

from training import mirror_kernels as kernels
from training import team
from training.lanes import LANES, TILE_COLUMNS, has_bfloat16_products


def can_fold(x: Tensor, weight: Tensor) -> bool:
    """Whether `FoldedConv2d` takes these."""
    return (
        has_bfloat16_products()
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and weight.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and x.shape[1] % (2 * TILE_COLUMNS) == 0
        and weight.shape[0] % TILE_COLUMNS == 0
    )


class FoldedConv2d(torch.autograd.Function):
    """x bfloat16 [B, 2 C, H, W], filters float32 [D, 2 C, 3, 3] of the outputs' first half -> bfloat16 [B, 2 D, H, W]."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        ctx.save_for_backward(x, weight)
        half_out, half_in = weight.shape[0], weight.shape[1] // 2
        packed, lines = _packed(weight), torch.empty(torch.get_num_threads() * 64, dtype=torch.uint8)
        task = (weight, packed, lines)
        team.run(kernels.pack_filters, half_in // LANES, *(t.data_ptr() for t in task), half_in, half_out)
        return _convolve(x, packed, half_in, half_out)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        half_out, half_in = weight.shape[0], weight.shape[1] // 2
        grad_x = None
        if ctx.needs_input_grad[0]:
            packed = _packed(weight)
            addresses = weight.data_ptr(), packed.data_ptr()
            team.run(kernels.pack_transposed, half_out // 2, *addresses, half_in, half_out)
            grad_x = _convolve(grad, packed, half_out, half_in)
        return grad_x, _filter_gradient(x, grad, weight) if ctx.needs_input_grad[1] else None


def _packed(weight: Tensor) -> Tensor:
    return torch.empty(weight.numel() * 4 // 3, dtype=torch.bfloat16)


def _convolve(x: Tensor, packed: Tensor, half_in: int, half_out: int) -> Tensor:
    batch, _, height, width = x.shape
    y = torch.empty((batch, 2 * half_out, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    size, places = kernels.convolve_scratch(half_in), batch * ((height + 1) // 2) * width
    scratch = torch.empty(torch.get_num_threads() * size, dtype=torch.uint8)
    addresses = (t.data_ptr() for t in (x, y, packed))
    blocks = -(-places // kernels.BLOCK)
    numbers = places, height, width, half_in, half_out
    team.run(kernels.convolve, blocks, scratch.data_ptr(), size, *addresses, *numbers)
    return y


def _filter_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    half_out, half_in = weight.shape[0], weight.shape[1] // 2
    size = kernels.gradient_scratch(half_in, half_out)
    scratch = torch.empty(torch.get_num_threads() * size, dtype=torch.uint8)
    products = torch.empty(kernels.PARTS * 2 * 9 * half_in * half_out)
    addresses = (t.data_ptr() for t in (x, grad, products))
    numbers = batch * height * width, height, width, half_in, half_out
    team.run(kernels.multiply_gradients, kernels.PARTS, scratch.data_ptr(), size, *addresses, *numbers)
    result = torch.empty_like(weight)
    team.run(kernels.collect_gradient, half_out, products.data_ptr(), result.data_ptr(), half_in, half_out)
    return result
