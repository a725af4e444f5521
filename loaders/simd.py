"""Instructions that Numba has no words for: a block copy, the reversal of five pixels, and eight conversions at once.

All take addresses and check nothing: the caller answers for every byte.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _INT = ir.IntType(8), ir.IntType(32)
_REVERSE = [13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0]


@intrinsic
def copy(typingctx, target, source, count):
    """Copy `count` bytes between addresses that do not overlap."""

    def generate(context, builder, signature, args):
        target, source = (builder.inttoptr(arg, _BYTE.as_pointer()) for arg in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp), generate


@intrinsic
def reverse5(typingctx, target, source):
    """Write five 3-byte pixels in reverse order, and one byte of rubbish after them.

    Reads the 16 bytes from source - 1 on (so one byte before the pixels), writes 16 bytes from target on.
    """

    def generate(context, builder, signature, args):
        vector = ir.VectorType(_BYTE, 16)
        before = builder.sub(args[1], ir.Constant(args[1].type, 1))
        value = builder.load(builder.inttoptr(before, vector.as_pointer()), align=1)
        mask = ir.Constant(ir.VectorType(_INT, 16), _REVERSE)
        value = builder.shuffle_vector(value, ir.Constant(vector, ir.Undefined), mask)
        builder.store(value, builder.inttoptr(args[0], vector.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate


@intrinsic
def normalise24(typingctx, out, target, source, steps, scale, shift):
    """Write `steps` * 24 values scale[j % 24] * byte + shift[j % 24], computed in double and then rounded.

    Args:
        out: an array of the target's type: float32, uint16 (bit patterns of bfloat16) or int16 (of float16).
        target, source: addresses of the values and of the bytes.
        scale, shift: addresses of float64 [24].
    """
    kind = out.dtype

    def generate(context, builder, signature, args):
        _, target, source, steps, scale, shift = args
        bytes8, double8, float8, int8 = (ir.VectorType(t, 8) for t in (_BYTE, ir.DoubleType(), ir.FloatType(), _INT))
        result8 = float8 if kind == types.float32 else ir.VectorType(ir.IntType(16), 8)
        width = kind.bitwidth  # bytes of eight values

        def pointer(address, offset, vector):
            return builder.inttoptr(builder.add(address, address.type(offset)), vector.as_pointer())

        def load(address, offset, vector):
            return builder.load(pointer(address, offset, vector), align=1)

        def every(value):
            return ir.Constant(int8, [value] * 8)

        def rounded(value):
            value = builder.fptrunc(value, float8)
            if kind == types.float32:
                return value
            if kind == types.int16:
                return builder.bitcast(builder.fptrunc(value, ir.VectorType(ir.HalfType(), 8)), result8)
            bits = builder.bitcast(value, int8)  # to the nearest, ties to even
            odd = builder.and_(builder.lshr(bits, every(16)), every(1))
            return builder.trunc(builder.lshr(builder.add(builder.add(bits, every(0x7FFF)), odd), every(16)), result8)

        scales, shifts = ([load(base, 64 * k, double8) for k in range(3)] for base in (scale, shift))
        fma_type = ir.FunctionType(double8, [double8] * 3)
        fma = cgutils.get_or_insert_function(builder.module, fma_type, "llvm.fma.v8f64")
        with cgutils.for_range(builder, steps) as loop:
            read = builder.add(source, builder.mul(loop.index, source.type(24)))
            write = builder.add(target, builder.mul(loop.index, target.type(3 * width)))
            for k in range(3):
                value = builder.sitofp(builder.zext(load(read, 8 * k, bytes8), int8), double8)
                value = rounded(builder.call(fma, [value, scales[k], shifts[k]]))
                builder.store(value, pointer(write, width * k, result8), align=1)
        return context.get_dummy_value()

    return types.void(out, types.uintp, types.uintp, types.intp, types.uintp, types.uintp), generate
