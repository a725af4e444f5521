"""Machine instructions that Numba cannot express: block copies, pixel reversal, vector conversions, bit counts.

They are called from Numba functions. Those that take addresses (uintp) check nothing: the caller answers for every
byte. `typingctx` is Numba's own argument and is left out of a call.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _INT = ir.IntType(8), ir.IntType(32)
_REVERSE = [13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0]  # of byte 0, then five pixels of 3 bytes


@intrinsic
def copy(typingctx, target, source, count):
    """Copy `count` bytes between addresses that do not overlap."""

    def generate(context, builder, signature, args):
        target, source = (builder.inttoptr(arg, _BYTE.as_pointer()) for arg in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp), generate


@intrinsic
def copy32(typingctx, target, source):
    """Copy 32 bytes, which need not be aligned."""

    def generate(context, builder, signature, args):
        vector = ir.VectorType(_BYTE, 32)
        value = builder.load(builder.inttoptr(args[1], vector.as_pointer()), align=1)
        builder.store(value, builder.inttoptr(args[0], vector.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate


@intrinsic
def clear16(typingctx, target):
    """Set 16 bytes to zero, which need not be aligned."""

    def generate(context, builder, signature, args):
        vector = ir.VectorType(_BYTE, 16)
        builder.store(ir.Constant(vector, [0] * 16), builder.inttoptr(args[0], vector.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@intrinsic
def reverse5(typingctx, target, source):
    """Write five 3-byte pixels in reverse order, and one arbitrary byte after them.

    Reads 16 bytes from source - 1 on, so one byte ahead of the pixels; writes 16 bytes from target on.
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


def _vector(type_, lanes: int):
    """The LLVM type of `lanes` values: a vector, or of one value the value's own type."""
    return ir.VectorType(type_, lanes) if lanes > 1 else type_


def _round(builder, value, kind, lanes: int):
    """Round a float32 value or vector to float32, uint16 (the bits of a bfloat16) or int16 (those of a float16)."""
    result, integers = _vector(ir.IntType(16), lanes), _vector(_INT, lanes)
    if kind == types.float32:
        return value
    if kind == types.int16:
        return builder.bitcast(builder.fptrunc(value, _vector(ir.HalfType(), lanes)), result)

    def every(number):
        return ir.Constant(integers, [number] * lanes if lanes > 1 else number)

    bits = builder.bitcast(value, integers)  # to the nearest bfloat16, ties to even
    odd = builder.and_(builder.lshr(bits, every(16)), every(1))
    return builder.trunc(builder.lshr(builder.add(builder.add(bits, every(0x7FFF)), odd), every(16)), result)


class _Formula:
    """Emits code that loads eight bytes and computes scale * byte + shift in float64, rounded to float32."""

    def __init__(self, builder, scale, shift):
        self.builder = builder
        self.scales, self.shifts = ([self.load(at, 64 * k, ir.DoubleType()) for k in range(3)] for at in (scale, shift))
        double8 = ir.VectorType(ir.DoubleType(), 8)
        kind = ir.FunctionType(double8, [double8] * 3)
        self.fma = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v8f64")

    def pointer(self, address, offset, type_):
        at = self.builder.add(address, address.type(offset))
        return self.builder.inttoptr(at, ir.VectorType(type_, 8).as_pointer())

    def load(self, address, offset, type_):
        return self.builder.load(self.pointer(address, offset, type_), align=1)

    def __call__(self, address, k):
        """The results for bytes 8 k to 8 k + 7 of the 24 bytes at `address`."""
        integers = self.builder.zext(self.load(address, 8 * k, _BYTE), ir.VectorType(_INT, 8))
        value = self.builder.sitofp(integers, ir.VectorType(ir.DoubleType(), 8))
        value = self.builder.call(self.fma, [value, self.scales[k], self.shifts[k]])
        return self.builder.fptrunc(value, ir.VectorType(ir.FloatType(), 8))


def _times(builder, index, size: int):
    """index * size, in the type of the index."""
    return builder.mul(index, index.type(size))


def _stored(kind):
    """The LLVM type in which a value of `kind` is stored."""
    return ir.FloatType() if kind == types.float32 else ir.IntType(16)


@intrinsic
def normalise24(typingctx, out, target, source, steps, scale, shift):
    """Normalise `steps` * 24 bytes: write scale[j % 24] * byte + shift[j % 24], computed in float64, then rounded.

    Args:
        out: any array of the dtype to write: float32, uint16 (the bits of a bfloat16) or int16 (those of a float16).
        target: address of the first value to write.
        source: address of the first byte to read.
        steps: number of groups of 24 bytes, which is eight pixels of three channels.
        scale, shift: addresses of float64 [24].
    """
    kind = out.dtype

    def generate(context, builder, signature, args):
        _, target, source, steps, scale, shift = args
        formula = _Formula(builder, scale, shift)
        width = kind.bitwidth  # in bytes, of eight values
        with cgutils.for_range(builder, steps) as loop:
            read = builder.add(source, _times(builder, loop.index, 24))
            write = builder.add(target, _times(builder, loop.index, 3 * width))
            for k in range(3):
                value = _round(builder, formula(read, k), kind, 8)
                builder.store(value, formula.pointer(write, width * k, _stored(kind)), align=1)
        return context.get_dummy_value()

    return types.void(out, types.uintp, types.uintp, types.intp, types.uintp, types.uintp), generate


@intrinsic
def rounded_to(typingctx, out, value):
    """Round a float32 to the dtype of the array `out`: float32, uint16 (a bfloat16's bits) or int16 (a float16's)."""
    kind = out.dtype

    def generate(context, builder, signature, args):
        return _round(builder, args[1], kind, 1)

    return kind(out, types.float32), generate


@intrinsic
def trailing_zeros(typingctx, word):
    """The index of the lowest set bit of a uint64 that is not zero, as uint64."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def count_ones(typingctx, word):
    """The number of set bits of a uint64, as uint64."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate
