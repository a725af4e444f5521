"""Two instructions that Numba has no words for: a block copy, and the reversal of five pixels at once.

Both take addresses and check nothing: the caller answers for every byte.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE = ir.IntType(8)
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
        mask = ir.Constant(ir.VectorType(ir.IntType(32), 16), _REVERSE)
        value = builder.shuffle_vector(value, ir.Constant(vector, ir.Undefined), mask)
        builder.store(value, builder.inttoptr(args[0], vector.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate
