"""The number formats of the compiled layers, and how their kernels read and write them.

A kernel's dtype says how images lie in memory and of what numbers products are made, its factors:

    np.float32   images and factors are float32
    np.uint16    both are bfloat16, of which these are the bits, since NumPy has no type for it
    np.int16     images are bfloat16, factors are rounded to whole numbers, times a power of two that blocks of them
                 share: products of int16 are summed in int32 without rounding (D. Das et al., "Mixed precision training
                 of convolutional neural networks using integer operations", arXiv:1802.00930)

Factors of two bytes go in pairs, as `tile` multiplies them. What the processor has no instructions for is computed too,
slowly, so that it can be tested anywhere. As in `lanes`, addresses are not checked.
"""

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from training.cpu.lanes import BYTES, FLOATS, LANES, WORDS, each, floats, pointer

HAS_BFLOAT16 = bool(get_host_cpu_features().get("avx512bf16"))


class BFloat(ir.Type):
    """LLVM's bfloat16, which llvmlite has no word for."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, BFloat)

    def __hash__(self):
        return hash(BFloat)


_WORD, _SHORTS, _BFLOATS = ir.IntType(32), ir.VectorType(ir.IntType(16), LANES), ir.VectorType(BFloat(), LANES)


def is_bfloat16(dtype) -> bool:
    """Of the dtype that an intrinsic is compiled for."""
    return dtype.dtype == types.uint16


def is_whole(dtype) -> bool:
    """Of the dtype that an intrinsic is compiled for."""
    return dtype.dtype == types.int16


def has_short_images(dtype) -> bool:
    """Of the dtype that an intrinsic is compiled for."""
    return dtype.dtype != types.float32


@intrinsic
def has_whole_factors(typingctx, dtype):
    """Whether factors are int16."""

    def generate(context, builder, signature, args):
        return context.get_constant(types.boolean, is_whole(dtype))

    return types.boolean(dtype), generate


@intrinsic
def size_of(typingctx, dtype):
    """Bytes of an image's number."""

    def generate(context, builder, signature, args):
        return context.get_constant(types.intp, 2 if has_short_images(dtype) else 4)

    return types.intp(dtype), generate


@intrinsic
def factor_size(typingctx, dtype):
    """Bytes of a factor."""

    def generate(context, builder, signature, args):
        return context.get_constant(types.intp, 4 if dtype.dtype == types.float32 else 2)

    return types.intp(dtype), generate


@intrinsic
def load_number(typingctx, dtype, address):
    """Sixteen numbers of an image, as float32."""

    def generate(context, builder, signature, args):
        return _numbers(builder, dtype, args[1])

    return floats(dtype, types.uintp), generate


@intrinsic
def load_where(typingctx, dtype, address, bytes_address, byte):
    """`load_number`, zeros where sixteen bytes are not that one."""

    def generate(context, builder, signature, args):
        _, address, bytes_address, byte = args
        found = builder.load(pointer(builder, bytes_address, BYTES), align=1)
        wanted = builder.insert_element(ir.Constant(BYTES, ir.Undefined), builder.trunc(byte, BYTES.element), _WORD(0))
        wanted = builder.shuffle_vector(wanted, wanted, each(0))
        numbers = _numbers(builder, dtype, address)
        return builder.select(builder.icmp_signed("==", found, wanted), numbers, ir.Constant(FLOATS, [0.0] * LANES))

    return floats(dtype, types.uintp, types.uintp, types.intp), generate


@intrinsic
def store_number(typingctx, dtype, address, value):
    """Sixteen numbers of an image; to bfloat16 rounded to the nearest, ties to even."""

    def generate(context, builder, signature, args):
        _, address, value = args
        if has_short_images(dtype):
            builder.store(_bfloats(builder, value), pointer(builder, address, _SHORTS), align=2)
        else:
            builder.store(value, pointer(builder, address, FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, floats), generate


@intrinsic
def store_factor(typingctx, dtype, address, value, scale):
    """Sixteen factors, rounded to the nearest, ties to even; whole ones are value times scale."""

    def generate(context, builder, signature, args):
        _, address, value, scale = args
        if dtype.dtype == types.float32:
            builder.store(value, pointer(builder, address, FLOATS), align=4)
        else:
            shorts = _rounded(builder, dtype, value, scale)
            builder.store(shorts, pointer(builder, address, _SHORTS), align=2)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, floats, floats), generate


@intrinsic
def store_two(typingctx, dtype, address, row, first, second, scale):
    """Two lines of sixteen factors, as `tile` takes them: of float32 one after the other, `row` bytes apart; of others
    in pairs first[0], second[0], first[1], ..."""

    def generate(context, builder, signature, args):
        _, address, row, first, second, scale = args
        if dtype.dtype == types.float32:
            builder.store(first, pointer(builder, address, FLOATS), align=4)
            builder.store(second, pointer(builder, builder.add(address, row), FLOATS), align=4)
        else:
            low, high = (builder.zext(_rounded(builder, dtype, v, scale), WORDS) for v in (first, second))
            pairs = builder.or_(low, builder.shl(high, each(16)))
            builder.store(pairs, pointer(builder, address, WORDS), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, types.intp, floats, floats, floats), generate


@intrinsic
def store_word(typingctx, dtype, address, k, value, scale):
    """Sixteen words of four bytes: float32, or of others the first factor of a pair if k is even, else its second; the
    first clears the second."""

    def generate(context, builder, signature, args):
        _, address, k, value, scale = args
        if dtype.dtype == types.float32:
            builder.store(value, pointer(builder, address, FLOATS), align=4)
        else:
            place = pointer(builder, address, WORDS)
            number = builder.zext(_rounded(builder, dtype, value, scale), WORDS)
            both = builder.or_(builder.load(place, align=4), builder.shl(number, each(16)))
            builder.store(builder.select(builder.trunc(k, ir.IntType(1)), both, number), place, align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, types.intp, floats, floats), generate


@intrinsic
def scatter(typingctx, dtype, address, stride, value):
    """Sixteen float32, or eight pairs of bfloat16, each four bytes, `stride` bytes apart."""

    def generate(context, builder, signature, args):
        _, address, stride, value = args
        count = LANES // 2 if is_bfloat16(dtype) else LANES
        value = _bfloats(builder, value) if is_bfloat16(dtype) else value
        words = builder.bitcast(value, ir.VectorType(_WORD, count))
        for k in range(count):
            place = builder.add(address, builder.mul(stride, ir.IntType(64)(k)))
            builder.store(builder.extract_element(words, _WORD(k)), pointer(builder, place, _WORD), align=4)
        return context.get_dummy_value()

    return types.void(dtype, types.uintp, types.intp, floats), generate


def _numbers(builder, dtype, address):
    """Sixteen numbers of an image."""
    if not has_short_images(dtype):
        return builder.load(pointer(builder, address, FLOATS), align=4)
    words = builder.zext(builder.load(pointer(builder, address, _SHORTS), align=2), WORDS)
    return builder.bitcast(builder.shl(words, each(16)), FLOATS)


def _rounded(builder, dtype, value, scale):
    """Sixteen factors of two bytes."""
    if is_bfloat16(dtype):
        return _bfloats(builder, value)
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), "llvm.fma.v16f32")
    unit = ir.Constant(FLOATS, [float(3 << 22)] * LANES)  # float32 from here to 2^24 are the whole numbers
    return builder.trunc(builder.bitcast(builder.call(fma, [value, scale, unit]), WORDS), _SHORTS)


def _bfloats(builder, value):
    if HAS_BFLOAT16:
        kind = ir.FunctionType(_BFLOATS, [FLOATS])
        convert = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512")
        return builder.bitcast(builder.call(convert, [value]), _SHORTS)
    bits = builder.bitcast(value, WORDS)
    is_odd = builder.and_(builder.lshr(bits, each(16)), each(1))
    rounded = builder.add(bits, builder.add(is_odd, each(0x7FFF)))
    quiet = builder.or_(bits, each(0x400000))
    bits = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(bits, each(16)), _SHORTS)
