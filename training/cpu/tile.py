"""The inner loop of a matrix product of float32 or bfloat16, for Numba kernels. Checks nothing."""

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from training.cpu.lanes import HAS_BFLOAT16, LANES, BFloat

TILE_ROWS, TILE_COLUMNS = (12, 32) if get_host_cpu_features().get("avx512f") else (6, 16)
"""What one call of `multiply` computes: three quarters of the vector registers, so that what is read is used often."""

_WORD, _LONG = ir.IntType(32), ir.IntType(64)
_FLOATS, _WORDS, _PAIRS = (
    ir.VectorType(kind, lanes) for kind, lanes in ((ir.FloatType(), LANES), (_WORD, LANES), (BFloat(), 2 * LANES))
)


@intrinsic
def multiply(typingctx, dtype, a, a_row, a_step, b, steps, start, c, c_row):
    """c = start + a b, summed in float32: [rows, steps] times [steps, columns] of a tile, where each step is one number
    of float32 or a pair of bfloat16.

    Args:
        dtype: as in `lanes`.
        a: address; step k of row i lies i * a_row + k * a_step bytes behind it.
        b: address of [steps, columns], four bytes each.
        steps: at least one.
        start, c: addresses of float32 [rows, columns], rows c_row bytes apart.
    """
    is_bfloat16 = dtype.dtype == types.uint16

    def generate(context, builder, signature, args):
        _, a, a_row, a_step, b, steps, start, c, c_row = args
        add_product = _add_pairs if is_bfloat16 else _add_floats
        places = [(i, 4 * j) for i in range(TILE_ROWS) for j in range(0, TILE_COLUMNS, LANES)]

        def sums(address):
            for i, j in places:
                row = builder.add(address, builder.mul(c_row, _LONG(i)))
                yield builder.inttoptr(builder.add(row, _LONG(j)), _FLOATS.as_pointer())

        first = [builder.load(pointer, align=4) for pointer in sums(start)]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        step, a_now, b_now = (builder.phi(_LONG) for _ in range(3))
        totals = [builder.phi(_FLOATS) for _ in places]
        nothing, columns = ir.Constant(_WORDS, ir.Undefined), {}
        for j in sorted({j for _, j in places}):
            columns[j] = builder.load(builder.inttoptr(builder.add(b_now, _LONG(j)), _WORDS.as_pointer()), align=4)
        results = []
        for (i, j), total in zip(places, totals, strict=True):
            if j == 0:
                pointer = builder.inttoptr(builder.add(a_now, builder.mul(a_row, _LONG(i))), _WORD.as_pointer())
                pair = builder.insert_element(nothing, builder.load(pointer, align=2), _WORD(0))
                pair = builder.shuffle_vector(pair, nothing, ir.Constant(_WORDS, [0] * LANES))
            results.append(add_product(builder, total, pair, columns[j]))
        nexts = [builder.add(step, _LONG(1)), builder.add(a_now, a_step), builder.add(b_now, _LONG(4 * TILE_COLUMNS))]
        starts = [_LONG(0), a, b, *first]
        for phi, old, new in zip((step, a_now, b_now, *totals), starts, nexts + results, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", nexts[0], steps), loop, after)
        builder.position_at_end(after)
        for pointer, result in zip(sums(c), results, strict=True):
            builder.store(result, pointer, align=4)
        return context.get_dummy_value()

    integers = (types.uintp, types.intp, types.intp, types.uintp, types.intp, types.uintp, types.uintp, types.intp)
    return types.void(dtype, *integers), generate


def _add_floats(builder, total, a, b):
    """total + a b of sixteen words."""
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), "llvm.fma.v16f32")
    return builder.call(fma, [builder.bitcast(a, _FLOATS), builder.bitcast(b, _FLOATS), total])


def _add_pairs(builder, total, a, b):
    """total + a0 b0 + a1 b1 of sixteen pairs."""
    if HAS_BFLOAT16:
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _PAIRS, _PAIRS])
        dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        return builder.call(dot, [total, builder.bitcast(a, _PAIRS), builder.bitcast(b, _PAIRS)])
    half, upper = ir.Constant(_WORDS, [16] * LANES), ir.Constant(_WORDS, [0xFFFF0000] * LANES)
    total = _add_floats(builder, total, builder.shl(a, half), builder.shl(b, half))
    return _add_floats(builder, total, builder.and_(a, upper), builder.and_(b, upper))
