"""Weighted sums of neighbouring pixels, four rows at once, in vector instructions that Numba does not find by itself.

A pixel's three channels, and the value after them, are one vector of four floats; the fourth sum is thrown away. So
each instruction does three sums, and each weight is loaded once for four rows. The code is LLVM's, which has vectors of
four floats on every processor.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

ROWS = 4
_FLOAT, _INT, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)


def _sum_pixels(
    typing: Any, lines: Any, first: Any, weights: Any, count: Any, column: Any, out: Any, top: Any, left: Any
) -> Any:
    """Sum `count` neighbouring pixels by weight in each of four lines; half a step is added, and the rest cut off.

    The sums are made one after the other in float32, so they are the same on every machine. Nothing is checked.

    Args:
        lines: float32 [4, n], pixels of three values; one value behind the last pixel is read.
        first: the first pixel.
        weights: float32 [columns, most]; those of this result are weights[column, :count].
        out: uint8 [rows, columns, channels]; the results go to out[top : top + 4, left], and the byte behind each is
            overwritten.
    """
    return types.void(lines, types.intp, weights, types.intp, types.intp, out, types.intp, types.intp), _generate


sum_pixels: Any = intrinsic(_sum_pixels)  # for use in kernels, where the first argument is left out


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    lines, first, weights, count, column, out, top, left = arguments
    vector, zeros = ir.VectorType(_FLOAT, 4), ir.Constant(ir.VectorType(_INT, 4), [0] * 4)
    undefined = ir.Constant(vector, ir.Undefined)

    def located(which: int, array: Any, row: Any, place: Any, step: int) -> tuple[Any, Any]:
        """The address of a place in an array's row, and the bytes between two rows."""
        opened = context.make_array(signature.args[which])(context, builder, array)
        pitch = builder.extract_value(opened.strides, 0)
        data = builder.ptrtoint(opened.data, pitch.type)
        at = builder.add(builder.mul(row, pitch), builder.mul(place, pitch.type(step)))
        return builder.add(data, at), pitch

    def pointer(address: Any, kind: Any) -> Any:
        return builder.inttoptr(address, kind.as_pointer())

    zero = first.type(0)
    pixels, pitch = located(0, lines, zero, first, 12)
    factors, _ = located(2, weights, column, zero, 4)
    to, to_pitch = located(5, out, top, left, 3)
    sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.5] * 4)) for _ in range(ROWS)]
    with cgutils.for_range(builder, count) as loop:
        at = builder.add(factors, builder.mul(loop.index, zero.type(4)))
        weight = builder.insert_element(undefined, builder.load(pointer(at, _FLOAT), align=4), _INT(0))
        weight = builder.shuffle_vector(weight, undefined, zeros)
        at = builder.add(pixels, builder.mul(loop.index, zero.type(12)))
        for total in sums:
            pixel = builder.load(pointer(at, vector), align=4)
            builder.store(builder.fadd(builder.load(total), builder.fmul(weight, pixel)), total)
            at = builder.add(at, pitch)
    for total in sums:
        whole = builder.fptosi(builder.load(total), zeros.type)
        result = builder.bitcast(builder.trunc(whole, ir.VectorType(_BYTE, 4)), _INT)
        builder.store(result, pointer(to, _INT), align=1)
        to = builder.add(to, to_pitch)
    return context.get_dummy_value()
