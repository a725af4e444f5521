"""The powers of two that whole factors share: largest absolute values, in Numba kernels. As in `lanes`, addresses are
not checked.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from training.cpu.lanes import FLOATS, LANES, WORDS, each, floats, pointer

_WORD = ir.IntType(32)


@intrinsic
def larger_size(typingctx, value, other):
    """The larger of both absolute values; what is not a number is larger than all."""

    def generate(context, builder, signature, args):
        sizes = [builder.and_(builder.bitcast(arg, WORDS), each(0x7FFFFFFF)) for arg in args]
        is_larger = builder.icmp_signed(">", *sizes)
        return builder.bitcast(builder.select(is_larger, *sizes), FLOATS)

    return floats(floats, floats), generate


@intrinsic
def larger_sizes(typingctx, sizes, address):
    """The larger absolute values, 32 in bfloat16 as `sizes` has them too; what is not a number is larger than all."""

    def generate(context, builder, signature, args):
        kind = ir.VectorType(ir.IntType(16), 2 * LANES)
        sizes, values = builder.bitcast(args[0], kind), builder.load(pointer(builder, args[1], kind), align=2)
        values = builder.and_(values, ir.Constant(kind, [0x7FFF] * 2 * LANES))
        larger = builder.select(builder.icmp_signed(">", values, sizes), values, sizes)
        return builder.bitcast(larger, FLOATS)

    return floats(floats, types.uintp), generate


@intrinsic
def largest_of_all(typingctx, sizes):
    """Sixteen times, in float32, the largest of what `larger_sizes` tells."""

    def generate(context, builder, signature, args):
        kind = ir.VectorType(ir.IntType(16), 2 * LANES)
        function = ir.FunctionType(kind.element, [kind])
        reduce = cgutils.get_or_insert_function(builder.module, function, "llvm.vector.reduce.smax.v32i16")
        largest = builder.zext(builder.call(reduce, [builder.bitcast(args[0], kind)]), _WORD)
        largest = builder.shl(largest, _WORD(16))
        first = builder.insert_element(ir.Constant(WORDS, ir.Undefined), largest, _WORD(0))
        return builder.bitcast(builder.shuffle_vector(first, first, each(0)), FLOATS)

    return floats(floats), generate


@intrinsic
def power_below(typingctx, size):
    """The power of two that is at most a size and over half of it; of sizes below 2^-100 that, of infinity itself."""

    def generate(context, builder, signature, args):
        power = builder.and_(builder.bitcast(args[0], WORDS), each(0x7F800000))
        least = each((127 - 100) << 23)
        return builder.bitcast(builder.select(builder.icmp_signed(">", power, least), power, least), FLOATS)

    return floats(floats), generate
