"""Restart markers are set into a JPEG stream without a change of any coefficient."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from loaders.formats.jpeg.header import has_restart_rows, read_scan
from loaders.formats.jpeg.restart import with_restart_rows
from tests.loaders.formats.jpeg.streams import by_pillow, decoded, drawn, encoded, smooth


def is_divided(stream: bytes) -> bool:
    return has_restart_rows(read_scan(np.frombuffer(stream, np.uint8)))


@pytest.mark.parametrize("images", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_every_decoder_gives_the_same_pixels(images):
    rng = np.random.default_rng(images)
    for _ in range(images):
        stream, _ = drawn(rng)
        rewritten = with_restart_rows(stream)
        assert is_divided(rewritten)
        assert len(rewritten) < 1.2 * len(stream) + 200
        assert np.array_equal(decoded(rewritten), decoded(stream))
        assert np.array_equal(simplejpeg.decode_jpeg(rewritten, "RGB"), decoded(stream))  # without any warning


def test_optimised_tables_and_markers_that_were_there():
    """Optimised tables may lack codes that the first blocks of rows need; other markers are taken out."""
    rng = np.random.default_rng(0)
    pixels = smooth(rng, 60, 70)
    for options in (
        {"optimize": True, "quality": 30},
        {"optimize": True, "quality": 100, "subsampling": 0},
        {"restart_marker_blocks": 1},
        {"restart_marker_blocks": 7},
        {"restart_marker_rows": 2},
        {"exif": Image.Exif().tobytes(), "comment": b"made here", "dpi": (72, 72)},
    ):
        stream = by_pillow(pixels, **options)
        rewritten = with_restart_rows(stream)
        assert is_divided(rewritten)
        assert np.array_equal(decoded(rewritten), decoded(stream))
        assert Image.open(io.BytesIO(rewritten)).info.keys() == Image.open(io.BytesIO(stream)).info.keys()


def test_a_flat_image_whose_table_has_one_code():
    for value in (0, 9, 128, 255):
        stream = by_pillow(np.full((50, 50, 3), value, np.uint8), optimize=True)
        assert np.array_equal(decoded(with_restart_rows(stream)), decoded(stream))


def test_a_stream_that_has_them_is_returned_itself():
    stream = with_restart_rows(encoded(smooth(np.random.default_rng(1), 40, 40), "420"))
    assert with_restart_rows(stream) is stream


def test_what_cannot_have_them_gives_none():
    pixels = smooth(np.random.default_rng(2), 40, 40)
    stream = encoded(pixels, "420")
    for other in (
        by_pillow(pixels, progressive=True),
        simplejpeg.encode_jpeg(np.dstack([pixels, pixels[..., :1]]), 90, "CMYK", "444"),
        stream[:-2],
        stream[: len(stream) // 2],
        b"",
        b"GIF89a",
    ):
        assert with_restart_rows(other) is None


@pytest.mark.parametrize("streams", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_streams_give_none_or_a_stream(streams):
    rng = np.random.default_rng(3)
    whole = [np.frombuffer(drawn(rng)[0], np.uint8) for _ in range(10)]
    for _ in range(streams):
        damaged = whole[rng.integers(len(whole))].copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        rewritten = with_restart_rows(damaged.tobytes())
        assert rewritten is None or is_divided(rewritten)


def test_a_size_that_lies_takes_no_memory():
    stream = bytearray(encoded(smooth(np.random.default_rng(4), 40, 40), "420"))
    frame = stream.index(b"\xff\xc0")
    stream[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"  # 65,535 x 65,535
    assert with_restart_rows(bytes(stream)) is None
