"""Sixteen float32 at once in Numba kernels, where the compiler would search loops for vectors and give up, since arrays
might overlap.

All take addresses and check nothing: the caller answers for every byte. `formats` reads and writes other numbers.
"""

import math
import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

LANES = 16
_EXP2 = tuple(math.log(2) ** k / math.factorial(k) for k in range(6, -1, -1))
_WORD = ir.IntType(32)
FLOATS, WORDS, BYTES = (ir.VectorType(kind, LANES) for kind in (ir.FloatType(), _WORD, ir.IntType(8)))


class _Floats(types.Type):
    def __init__(self):
        super().__init__("float32x16")


floats = _Floats()


@register_default(_Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, FLOATS)


def pointer(builder, address, kind):
    """LLVM's pointer to that kind of value."""
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic
def load(typingctx, address):
    """Sixteen float32."""

    def generate(context, builder, signature, args):
        return builder.load(pointer(builder, args[0], FLOATS), align=4)

    return floats(types.uintp), generate


@intrinsic
def store(typingctx, address, value):
    """Sixteen float32."""

    def generate(context, builder, signature, args):
        builder.store(args[1], pointer(builder, args[0], FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, floats), generate


def each(word: int):
    """Sixteen times the same word, a constant of LLVM."""
    return ir.Constant(WORDS, [word] * LANES)


@intrinsic
def every(typingctx, number):
    """Sixteen times the same float32."""

    def generate(context, builder, signature, args):
        value = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), args[0], _WORD(0))
        return builder.shuffle_vector(value, ir.Constant(FLOATS, ir.Undefined), each(0))

    return floats(types.float32), generate


def _operator(python_operator, instruction: str) -> None:
    @intrinsic
    def apply(typingctx, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=("contract",))  # a product and a sum are rounded once

        return floats(floats, floats), generate

    @overload(python_operator)
    def choose(a, b):
        if isinstance(a, _Floats) and isinstance(b, _Floats):
            return lambda a, b: apply(a, b)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a b + c, rounded once."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), args)

    return floats(floats, floats, floats), generate


@intrinsic
def exp2(typingctx, value):
    """2 to the power of numbers from -126 to 126, within 3e-7 of itself."""

    def generate(context, builder, signature, args):
        def same(number):
            return ir.Constant(FLOATS, [number] * LANES)

        one, three = (ir.FunctionType(FLOATS, [FLOATS] * n) for n in (1, 3))
        rint = cgutils.get_or_insert_function(builder.module, one, "llvm.rint.v16f32")
        fma = cgutils.get_or_insert_function(builder.module, three, "llvm.fma.v16f32")
        whole = builder.call(rint, args)
        rest = builder.fsub(args[0], whole)
        result = same(_EXP2[0])
        for coefficient in _EXP2[1:]:
            result = builder.call(fma, [result, rest, same(coefficient)])
        exponent = builder.add(builder.fptosi(whole, WORDS), each(127))
        factor = builder.bitcast(builder.shl(exponent, each(23)), FLOATS)
        return builder.fmul(result, factor)

    return floats(floats), generate


@intrinsic
def choose_larger(typingctx, value, other, x, y):
    """x where value > other or value is not a number, else y."""

    def generate(context, builder, signature, args):
        value, other, x, y = args
        is_chosen = builder.or_(builder.fcmp_ordered(">", value, other), builder.fcmp_unordered("uno", value, value))
        return builder.select(is_chosen, x, y)

    return floats(floats, floats, floats, floats), generate


@intrinsic
def store_bytes(typingctx, address, value):
    """Whole numbers from 0 to 255, as uint8."""

    def generate(context, builder, signature, args):
        builder.store(builder.fptoui(args[1], BYTES), pointer(builder, args[0], BYTES), align=1)
        return context.get_dummy_value()

    return types.void(types.uintp, floats), generate


@intrinsic
def fetch(typingctx, address):
    """Ask for the cache line there, for the second cache."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _WORD, _WORD, _WORD])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [pointer(builder, args[0], ir.IntType(8)), _WORD(0), _WORD(2), _WORD(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate
