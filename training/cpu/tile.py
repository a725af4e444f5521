"""The inner loop of a matrix product, for Numba kernels. Checks nothing."""

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from training.cpu.formats import HAS_BFLOAT16, BFloat, is_bfloat16, is_whole
from training.cpu.lanes import FLOATS, LANES, WORDS, each, floats

_FEATURES = get_host_cpu_features()
TILE_ROWS, LOW_ROWS, TILE_COLUMNS = (12, 8, 32) if _FEATURES.get("avx512f") else (6, 4, 16)
"""What one call of `multiply` computes: three quarters of the vector registers, so that what is read is used often; or
fewer rows, for the last ones."""

_WORD, _LONG, _SHORT = ir.IntType(32), ir.IntType(64), ir.IntType(16)


@intrinsic(prefer_literal=True)
def multiply(typingctx, dtype, rows, a, a_row, a_step, b, steps, start, c, c_row, unit):
    """c = start + a b: [rows, steps] times [steps, columns] of a tile, where each step is one factor of four bytes or a
    pair of two. Summed in float32, whole factors in int32, which the caller answers for, and times `unit`.

    Args:
        dtype: as in `formats`.
        rows: TILE_ROWS or LOW_ROWS.
        a: address; step k of row i lies i * a_row + k * a_step bytes behind it.
        b: address of [steps, columns], four bytes each.
        steps: at least one.
        start, c: addresses of float32 [rows, columns], rows c_row bytes apart.
        unit: of a product of whole factors, sixteen times.
    """
    add_product = _add_whole_pairs if is_whole(dtype) else _add_pairs if is_bfloat16(dtype) else _add_floats
    kind = WORDS if is_whole(dtype) else FLOATS

    def generate(context, builder, signature, args):
        _, _, a, a_row, a_step, b, steps, start, c, c_row, unit = args
        places = [(i, 4 * j) for i in range(rows.literal_value) for j in range(0, TILE_COLUMNS, LANES)]

        def sums(address):
            for i, j in places:
                row = builder.add(address, builder.mul(c_row, _LONG(i)))
                yield builder.inttoptr(builder.add(row, _LONG(j)), FLOATS.as_pointer())

        def starts():
            return [builder.load(pointer, align=4) for pointer in sums(start)]

        first = [each(0)] * len(places) if is_whole(dtype) else starts()
        for pointer in sums(start) if is_whole(dtype) else ():
            _fetch(builder, pointer)  # it is read only behind the loop
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        step, a_now, b_now = (builder.phi(_LONG) for _ in range(3))
        totals = [builder.phi(kind) for _ in places]
        nothing, factors = ir.Constant(WORDS, ir.Undefined), {}
        for j in sorted({j for _, j in places}):
            factors[j] = builder.load(builder.inttoptr(builder.add(b_now, _LONG(j)), WORDS.as_pointer()), align=4)
        results = []
        for (i, j), total in zip(places, totals, strict=True):
            if j == 0:
                pointer = builder.inttoptr(builder.add(a_now, builder.mul(a_row, _LONG(i))), _WORD.as_pointer())
                pair = builder.insert_element(nothing, builder.load(pointer, align=2), _WORD(0))
                pair = builder.shuffle_vector(pair, nothing, each(0))
            results.append(add_product(builder, total, pair, factors[j]))
        nexts = [builder.add(step, _LONG(1)), builder.add(a_now, a_step), builder.add(b_now, _LONG(4 * TILE_COLUMNS))]
        olds = [_LONG(0), a, b, *first]
        for phi, old, new in zip((step, a_now, b_now, *totals), olds, nexts + results, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", nexts[0], steps), loop, after)
        builder.position_at_end(after)
        if is_whole(dtype):
            sizes = [builder.fmul(builder.sitofp(total, FLOATS), unit) for total in results]
            results = [builder.fadd(old, size) for old, size in zip(starts(), sizes, strict=True)]
        for pointer, result in zip(sums(c), results, strict=True):
            builder.store(result, pointer, align=4)
        return context.get_dummy_value()

    integers = (types.uintp, types.intp, types.intp, types.uintp, types.intp, types.uintp, types.uintp, types.intp)
    return types.void(dtype, rows, *integers, floats), generate


def _fetch(builder, pointer):
    """Asks for a cache line that will be written."""
    octets = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [octets, _WORD, _WORD, _WORD])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(prefetch, [builder.bitcast(pointer, octets), _WORD(1), _WORD(3), _WORD(1)])


def _add_floats(builder, total, a, b):
    """total + a b of sixteen words."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    fma = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32")
    return builder.call(fma, [builder.bitcast(a, FLOATS), builder.bitcast(b, FLOATS), total])


def _add_pairs(builder, total, a, b):
    """total + a0 b0 + a1 b1 of sixteen pairs of bfloat16."""
    if HAS_BFLOAT16:
        pairs = ir.VectorType(BFloat(), 2 * LANES)
        kind = ir.FunctionType(FLOATS, [FLOATS, pairs, pairs])
        dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        return builder.call(dot, [total, builder.bitcast(a, pairs), builder.bitcast(b, pairs)])
    half, upper = each(16), each(0xFFFF0000)
    total = _add_floats(builder, total, builder.shl(a, half), builder.shl(b, half))
    return _add_floats(builder, total, builder.and_(a, upper), builder.and_(b, upper))


def _add_whole_pairs(builder, total, a, b):
    """total + a0 b0 + a1 b1 of sixteen pairs of int16."""
    if _FEATURES.get("avx512vnni"):
        kind = ir.FunctionType(WORDS, [WORDS] * 3)
        dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpwssd.512")
        return builder.call(dot, [total, a, b])
    if not _FEATURES.get("avx2"):
        low = builder.mul(*(builder.ashr(builder.shl(pair, each(16)), each(16)) for pair in (a, b)))
        high = builder.mul(*(builder.ashr(pair, each(16)) for pair in (a, b)))
        return builder.add(total, builder.add(low, high))
    has_one = _FEATURES.get("avxvnni")  # instruction for product and sum
    words, shorts = ir.VectorType(_WORD, LANES // 2), ir.VectorType(_SHORT, LANES)
    kind = ir.FunctionType(words, [words] * 3 if has_one else [shorts] * 2)
    name = "llvm.x86.avx512.vpdpwssd.256" if has_one else "llvm.x86.avx2.pmadd.wd"
    dot, halves = cgutils.get_or_insert_function(builder.module, kind, name), []
    for places in (range(LANES // 2), range(LANES // 2, LANES)):
        index = ir.Constant(words, list(places))
        now, *pairs = (builder.shuffle_vector(value, value, index) for value in (total, a, b))
        if has_one:
            halves.append(builder.call(dot, [now, *pairs]))
        else:
            halves.append(builder.add(now, builder.call(dot, [builder.bitcast(pair, shorts) for pair in pairs])))
    return builder.shuffle_vector(*halves, ir.Constant(WORDS, list(range(LANES))))
