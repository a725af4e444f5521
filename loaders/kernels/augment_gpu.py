"""The Triton kernel that makes a batch on a GPU: gather, crop, flip, cut out, erase, mix and normalise in one launch.

It uses the draws of `loaders.kernels.augment_cpu` and `loaders.kernels.mix_cpu` and gives the same bytes: each value of
the batch finds the byte of the file that it shows. Import it only when a batch is to be made on a device, since Triton
is an extra. With TRITON_INTERPRET=1, set before this import, it runs on the CPU.
"""

import triton
import triton.language as tl

from ..augment import draws
from ..order import rng

BLOCK = 1024  # values a program
EXACT = {"enable_fp_fusion": False}  # products and sums are rounded one by one, as on the CPU

_M1, _M2 = tl.constexpr(int(rng.M1)), tl.constexpr(int(rng.M2))


def _step(index: int) -> tl.constexpr:
    """The constant that `rng.hash64` adds to the key for a draw index."""
    return tl.constexpr((index + 1) * int(rng.GOLDEN) & rng.MASK)


_CROP_Y, _CROP_X, _FLIP = _step(draws.CROP_Y), _step(draws.CROP_X), _step(draws.FLIP)
_CUTOUT_Y, _CUTOUT_X = _step(draws.CUTOUT_Y), _step(draws.CUTOUT_X)
_VERTICAL_FLIP, _ERASE_NOISE = _step(draws.VERTICAL_FLIP), _step(draws.ERASE_NOISE)
_GOLDEN = tl.constexpr(int(rng.GOLDEN))


@triton.jit
def _mixed64(z):
    """`mix64` of `loaders.order.rng`: uint64."""
    z = (z ^ (z >> 30)) * _M1
    z = (z ^ (z >> 27)) * _M2
    return z ^ (z >> 31)


@triton.jit
def _drawn(bits, STEP: tl.constexpr, n: tl.constexpr):
    """`below(hash64(bits, index), n)` of `loaders.order.rng`: bits uint64, result int32 in 0..n-1."""
    return (((_mixed64(bits + STEP) >> 32) * n) >> 32).to(tl.int32)


@triton.jit
def _mirror(i, n: tl.constexpr):
    i = tl.where(i < 0, -i, i)
    return tl.where(i >= n, 2 * (n - 1) - i, i)


@triton.jit
def _shown(
    data,
    starts,
    bits,
    sides,
    erased,
    j,
    y,
    x,
    c,
    wanted,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDING: tl.constexpr,
    REFLECT: tl.constexpr,
    FLIP: tl.constexpr,
    VERTICAL_FLIP: tl.constexpr,
    CUTOUT: tl.constexpr,
    ERASE: tl.constexpr,
):
    """The bytes at rows y, columns x, channels c of the augmented image j of the batch; zero where not `wanted`."""
    drawn = tl.load(bits + j).to(tl.uint64)
    row, column, seen = y, x, wanted
    if FLIP:
        column = tl.where(_drawn(drawn, _FLIP, 2) == 1, WIDTH - 1 - x, x)
    if sides is not None:
        column = tl.where(tl.load(sides + j) == 1, WIDTH - 1 - x, x)
    if VERTICAL_FLIP:
        row = tl.where(_drawn(drawn, _VERTICAL_FLIP, 2) == 1, HEIGHT - 1 - y, y)
    if PADDING:
        row = row + (_drawn(drawn, _CROP_Y, 2 * PADDING + 1) - PADDING)
        column = column + (_drawn(drawn, _CROP_X, 2 * PADDING + 1) - PADDING)
        if REFLECT:
            row, column = _mirror(row, HEIGHT), _mirror(column, WIDTH)
        else:
            seen = seen & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    if CUTOUT:
        top = _drawn(drawn, _CUTOUT_Y, HEIGHT) - CUTOUT // 2
        left = _drawn(drawn, _CUTOUT_X, WIDTH) - CUTOUT // 2
        seen = seen & ((y < top) | (y >= top + CUTOUT) | (x < left) | (x >= left + CUTOUT))
    byte = tl.load(data + tl.load(starts + j) + ((row * WIDTH + column) * 3 + c), mask=seen, other=0)
    if erased is not None:
        box = erased + 4 * j
        down, right = y - tl.load(box), x - tl.load(box + 1)
        inside = (down >= 0) & (down < tl.load(box + 2)) & (right >= 0) & (right < tl.load(box + 3))
        if ERASE == -1:
            noise = _mixed64(drawn + _ERASE_NOISE)
            value = (_mixed64(noise + (y * WIDTH + x + 1).to(tl.uint64) * _GOLDEN) >> (56 - 8 * c).to(tl.uint64)) & 255
        else:
            value = (ERASE >> (16 - 8 * c)) & 255
        byte = tl.where(wanted & inside, value.to(tl.uint8), byte)
    return byte


@triton.jit
def _to_bfloat16(value):
    """Bit patterns of float32 values rounded to bfloat16, ties to even, as `mix_cpu.to_bfloat16` does it: int16."""
    word = value.to(tl.int32, bitcast=True)
    return ((word + 0x7FFF + ((word >> 16) & 1)) >> 16).to(tl.int16)


@triton.jit(do_not_specialize_on_alignment=["starts", "bits", "sides", "erased", "partners", "boxes", "fractions"])
def augment_batch(
    out,
    data,
    starts,
    bits,
    sides,
    erased,
    table,
    partners,
    boxes,
    fractions,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDING: tl.constexpr,
    REFLECT: tl.constexpr,
    FLIP: tl.constexpr,
    VERTICAL_FLIP: tl.constexpr,
    CUTOUT: tl.constexpr,
    ERASE: tl.constexpr,
    PARTNERS: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Make BLOCK values, from BLOCK * program_id(1) on, of image program_id(0) of a batch.

    Args:
        out: [B, H, W, 3]: uint8, float32, or int16, the bit patterns of 16-bit floats.
        data: uint8, pixels of all images.
        starts: int64 [B], the first byte of each image.
        bits: int64 [B], the random bits of each position, hash64(key, position).
        sides: int8 [B], whether an alternating flip mirrors the image; None where there is none.
        erased: int32 [B, 4], top, left, height and width of what is erased; None where nothing is.
        table: [3, 256], the value of each byte, of the type of `out`; float32 where `fractions` are given; None for
            uint8.
        partners: int64 [B, PARTNERS] of a mixed batch.
        boxes: int32 [PARTNERS, 6], see `mixers.MixGeometry`; None where images are blended.
        fractions: float32 [2], whole numbers of 2^-16, of a blend; None where images are put together from boxes.
        ERASE: what is erased shows, red * 2^16 + green * 2^8 + blue; -1 is noise.
        DTYPE: "uint8", "float32", "bfloat16" or "float16".
    """
    i = tl.program_id(0)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < HEIGHT * WIDTH * 3
    c, pixel = place % 3, place // 3
    y, x = pixel // WIDTH, pixel % WIDTH
    byte = tl.full([BLOCK], 0, tl.uint8)
    first = byte
    for k in tl.static_range(PARTNERS if PARTNERS else 1):  # pyright: ignore[reportGeneralTypeIssues] (Triton unrolls)
        j, down, right, here = i, y, x, inside
        if PARTNERS:
            j = tl.load(partners + i * PARTNERS + k)
        if boxes is not None:
            box = boxes + 6 * k
            down, right = y - tl.load(box), x - tl.load(box + 1)
            here = inside & (down >= 0) & (down < tl.load(box + 2)) & (right >= 0) & (right < tl.load(box + 3))
            down, right = down + tl.load(box + 4), right + tl.load(box + 5)
        patch = _shown(
            data,
            starts,
            bits,
            sides,
            erased,
            j,
            down,
            right,
            c,
            here,
            HEIGHT,
            WIDTH,
            PADDING,
            REFLECT,
            FLIP,
            VERTICAL_FLIP,
            CUTOUT,
            ERASE,
        )
        byte = tl.where(here, patch, byte)
        if fractions is None or k == 0:
            first = byte  # of the two that a blend has
    value = first
    if table is not None:
        value = tl.load(table + (c * 256 + first))
    if fractions is not None:
        fraction, rest = tl.load(fractions), tl.load(fractions + 1)
        if DTYPE == "uint8":
            apart = value.to(tl.int32) - byte.to(tl.int32)
            value = (byte.to(tl.int32) + ((apart * (fraction * 65536).to(tl.int32) + 32768) >> 16)).to(tl.uint8)
        else:
            value = fraction * value + rest * tl.load(table + (c * 256 + byte))
            if DTYPE == "bfloat16":
                value = _to_bfloat16(value)
            if DTYPE == "float16":
                value = value.to(tl.float16).to(tl.int16, bitcast=True)
    tl.store(out + i.to(tl.int64) * (HEIGHT * WIDTH * 3) + place, value, mask=inside)


def launch(out, *arrays, height: int, width: int, **options) -> None:
    """Queue `augment_batch` for a whole batch on the current stream."""
    grid = (len(out), triton.cdiv(height * width * 3, BLOCK))
    constants = {"HEIGHT": height, "WIDTH": width, "BLOCK": BLOCK, **EXACT, **options}
    augment_batch[grid](out, *arrays, **constants)
