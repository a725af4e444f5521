"""Sixteen float32 at once in Numba kernels, where the compiler would search loops for vectors and give up, since arrays
might overlap.

All take addresses and check nothing: the caller answers for every byte. `narrow` needs AVX-512 BF16.
"""

import math
import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

LANES = 16


class BFloat(ir.Type):
    """LLVM's bfloat16, which llvmlite has no word for."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, BFloat)

    def __hash__(self):
        return hash(BFloat)


_EXP2 = tuple(math.log(2) ** k / math.factorial(k) for k in range(6, -1, -1))
_WORD = ir.IntType(32)
_FLOATS, _WORDS, _SHORTS, _BYTES = (
    ir.VectorType(kind, LANES) for kind in (ir.FloatType(), _WORD, ir.IntType(16), ir.IntType(8))
)
_BFLOATS = ir.VectorType(BFloat(), LANES)


class _Floats(types.Type):
    def __init__(self):
        super().__init__("float32x16")


class _Shorts(types.Type):
    def __init__(self):
        super().__init__("bfloat16x16")


_floats, _shorts = _Floats(), _Shorts()


@register_default(_Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


@register_default(_Shorts)
class _ShortsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _SHORTS)


def _at(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic
def load(typingctx, address):
    """Sixteen float32."""

    def generate(context, builder, signature, args):
        return builder.load(_at(builder, args[0], _FLOATS), align=4)

    return _floats(types.uintp), generate


@intrinsic
def store(typingctx, address, value):
    """Sixteen float32."""

    def generate(context, builder, signature, args):
        builder.store(args[1], _at(builder, args[0], _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, _floats), generate


@intrinsic
def load_bfloat16(typingctx, address):
    """Sixteen bfloat16, as float32."""

    def generate(context, builder, signature, args):
        words = builder.zext(builder.load(_at(builder, args[0], _SHORTS), align=2), _WORDS)
        return builder.bitcast(builder.shl(words, ir.Constant(_WORDS, [16] * LANES)), _FLOATS)

    return _floats(types.uintp), generate


@intrinsic
def store_bfloat16(typingctx, address, value):
    """Sixteen bfloat16."""

    def generate(context, builder, signature, args):
        builder.store(args[1], _at(builder, args[0], _SHORTS), align=2)
        return context.get_dummy_value()

    return types.void(types.uintp, _shorts), generate


@intrinsic
def narrow(typingctx, value):
    """float32 -> bfloat16: to the nearest, ties to even."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(_BFLOATS, [_FLOATS])
        convert = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512")
        return builder.bitcast(builder.call(convert, args), _SHORTS)

    return _shorts(_floats), generate


@intrinsic
def store_pairs(typingctx, address, first, second):
    """first[0], second[0], first[1], ...: 32 bfloat16."""

    def generate(context, builder, signature, args):
        first, second = (builder.zext(value, _WORDS) for value in args[1:])
        second = builder.shl(second, ir.Constant(_WORDS, [16] * LANES))
        builder.store(builder.or_(first, second), _at(builder, args[0], _WORDS), align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, _shorts, _shorts), generate


@intrinsic
def every(typingctx, number):
    """Sixteen times the same float32."""

    def generate(context, builder, signature, args):
        value = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], _WORD(0))
        return builder.shuffle_vector(value, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_WORDS, [0] * LANES))

    return _floats(types.float32), generate


def _operator(python_operator, instruction: str) -> None:
    @intrinsic
    def apply(typingctx, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return _floats(_floats, _floats), generate

    @overload(python_operator)
    def choose(a, b):
        if isinstance(a, _Floats) and isinstance(b, _Floats):
            return lambda a, b: apply(a, b)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


@intrinsic
def exp2(typingctx, value):
    """2 to the power of numbers from -126 to 126, within 3e-7 of itself."""

    def generate(context, builder, signature, args):
        def each(number):
            return ir.Constant(_FLOATS, [number] * LANES)

        one, three = (ir.FunctionType(_FLOATS, [_FLOATS] * n) for n in (1, 3))
        rint = cgutils.get_or_insert_function(builder.module, one, "llvm.rint.v16f32")
        fma = cgutils.get_or_insert_function(builder.module, three, "llvm.fma.v16f32")
        whole = builder.call(rint, args)
        rest = builder.fsub(args[0], whole)
        result = each(_EXP2[0])
        for coefficient in _EXP2[1:]:
            result = builder.call(fma, [result, rest, each(coefficient)])
        exponent = builder.add(builder.fptosi(whole, _WORDS), ir.Constant(_WORDS, [127] * LANES))
        factor = builder.bitcast(builder.shl(exponent, ir.Constant(_WORDS, [23] * LANES)), _FLOATS)
        return builder.fmul(result, factor)

    return _floats(_floats), generate


@intrinsic
def choose_larger(typingctx, value, other, x, y):
    """x where value > other or value is not a number, else y."""

    def generate(context, builder, signature, args):
        value, other, x, y = args
        is_chosen = builder.or_(builder.fcmp_ordered(">", value, other), builder.fcmp_unordered("uno", value, value))
        return builder.select(is_chosen, x, y)

    return _floats(_floats, _floats, _floats, _floats), generate


@intrinsic
def choose_equal(typingctx, value, other, x, y):
    """x where value equals other, else y."""

    def generate(context, builder, signature, args):
        value, other, x, y = args
        return builder.select(builder.fcmp_ordered("==", value, other), x, y)

    return _floats(_floats, _floats, _floats, _floats), generate


@intrinsic
def load_bytes(typingctx, address):
    """Sixteen uint8, as float32."""

    def generate(context, builder, signature, args):
        return builder.uitofp(builder.load(_at(builder, args[0], _BYTES), align=1), _FLOATS)

    return _floats(types.uintp), generate


@intrinsic
def store_bytes(typingctx, address, value):
    """Whole numbers from 0 to 255, as uint8."""

    def generate(context, builder, signature, args):
        builder.store(builder.fptoui(args[1], _BYTES), _at(builder, args[0], _BYTES), align=1)
        return context.get_dummy_value()

    return types.void(types.uintp, _floats), generate


@intrinsic
def copy_word(typingctx, target, source):
    """Copy four bytes."""

    def generate(context, builder, signature, args):
        builder.store(builder.load(_at(builder, args[1], _WORD), align=4), _at(builder, args[0], _WORD), align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate
