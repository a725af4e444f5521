"""Sixteen float32 at once in Numba kernels, where the compiler would search loops for vectors and give up, since arrays
might overlap.

All take addresses and check nothing: the caller answers for every byte. Numbers in memory have a dtype: np.float32, or
np.uint16 for the bits of bfloat16, which NumPy has no type for. Without AVX-512 BF16 that is computed too, slowly, so
that it can be tested anywhere.
"""

import math
import operator

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

LANES = 16
HAS_BFLOAT16 = bool(get_host_cpu_features().get("avx512bf16"))


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


_floats = _Floats()


@register_default(_Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


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


def _is_bfloat16(dtype) -> bool:
    return dtype.dtype == types.uint16


@intrinsic
def size_of(typingctx, dtype):
    """Bytes of a number."""

    def generate(context, builder, signature, args):
        return context.get_constant(types.intp, 2 if _is_bfloat16(dtype) else 4)

    return types.intp(dtype), generate


@intrinsic
def load_number(typingctx, dtype, address):
    """Sixteen numbers of that type, as float32."""

    def generate(context, builder, signature, args):
        if not _is_bfloat16(dtype):
            return builder.load(_at(builder, args[1], _FLOATS), align=4)
        words = builder.zext(builder.load(_at(builder, args[1], _SHORTS), align=2), _WORDS)
        return builder.bitcast(builder.shl(words, _each(16)), _FLOATS)

    return _floats(dtype, types.uintp), generate


@intrinsic
def store_number(typingctx, dtype, address, value):
    """Sixteen numbers of that type; to bfloat16 rounded to the nearest, ties to even."""

    def generate(context, builder, signature, args):
        _, address, value = args
        if _is_bfloat16(dtype):
            builder.store(_narrow(builder, value), _at(builder, address, _SHORTS), align=2)
        else:
            builder.store(value, _at(builder, address, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, _floats), generate


@intrinsic
def store_two(typingctx, dtype, address, row, first, second):
    """Two lines of sixteen numbers, as `tile` takes them: of float32 one after the other, `row` bytes apart; of
    bfloat16 in pairs first[0], second[0], first[1], ..."""

    def generate(context, builder, signature, args):
        _, address, row, *values = args
        if _is_bfloat16(dtype):
            first, second = (builder.zext(_narrow(builder, value), _WORDS) for value in values)
            pairs = builder.or_(first, builder.shl(second, _each(16)))
            builder.store(pairs, _at(builder, address, _WORDS), align=4)
        else:
            builder.store(values[0], _at(builder, address, _FLOATS), align=4)
            builder.store(values[1], _at(builder, builder.add(address, row), _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, types.intp, _floats, _floats), generate


@intrinsic
def store_word(typingctx, dtype, address, k, value):
    """Sixteen words of four bytes: float32, or bfloat16 as the first number of a pair if k is even, else as its second;
    the first clears the second."""

    def generate(context, builder, signature, args):
        _, address, k, value = args
        if _is_bfloat16(dtype):
            pointer = _at(builder, address, _WORDS)
            number = builder.zext(_narrow(builder, value), _WORDS)
            both = builder.or_(builder.load(pointer, align=4), builder.shl(number, _each(16)))
            builder.store(builder.select(builder.trunc(k, ir.IntType(1)), both, number), pointer, align=4)
        else:
            builder.store(value, _at(builder, address, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, types.intp, _floats), generate


@intrinsic
def scatter(typingctx, dtype, address, stride, value):
    """Sixteen float32, or eight pairs of bfloat16, each four bytes, `stride` bytes apart."""

    def generate(context, builder, signature, args):
        _, address, stride, value = args
        count = LANES // 2 if _is_bfloat16(dtype) else LANES
        value = _narrow(builder, value) if _is_bfloat16(dtype) else value
        words = builder.bitcast(value, ir.VectorType(_WORD, count))
        for k in range(count):
            place = builder.add(address, builder.mul(stride, ir.IntType(64)(k)))
            builder.store(builder.extract_element(words, _WORD(k)), _at(builder, place, _WORD), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, types.intp, _floats), generate


def _narrow(builder, value):
    if HAS_BFLOAT16:
        kind = ir.FunctionType(_BFLOATS, [_FLOATS])
        convert = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512")
        return builder.bitcast(builder.call(convert, [value]), _SHORTS)
    bits = builder.bitcast(value, _WORDS)
    is_odd = builder.and_(builder.lshr(bits, _each(16)), _each(1))
    rounded = builder.add(bits, builder.add(is_odd, _each(0x7FFF)))
    quiet = builder.or_(bits, _each(0x400000))
    bits = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(bits, _each(16)), _SHORTS)


def _each(word: int):
    return ir.Constant(_WORDS, [word] * LANES)


@intrinsic
def every(typingctx, number):
    """Sixteen times the same float32."""

    def generate(context, builder, signature, args):
        value = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], _WORD(0))
        return builder.shuffle_vector(value, ir.Constant(_FLOATS, ir.Undefined), _each(0))

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
        exponent = builder.add(builder.fptosi(whole, _WORDS), _each(127))
        factor = builder.bitcast(builder.shl(exponent, _each(23)), _FLOATS)
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
def fetch(typingctx, address):
    """Ask for the cache line there, for the second cache."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _WORD, _WORD, _WORD])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [_at(builder, args[0], ir.IntType(8)), _WORD(0), _WORD(2), _WORD(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate
