"""A part cut out of a JPEG stream decodes to the pixels of the whole image, border included; nothing else is read."""

import numpy as np
import pytest
import simplejpeg

from loaders.formats.jpeg import restart
from loaders.formats.jpeg.cut import WHOLE, WRONG, cut_box
from loaders.formats.jpeg.restart import with_restart_rows
from tests.loaders.formats.jpeg.guard import guarded
from tests.loaders.formats.jpeg.streams import by_pillow, decoded, drawn, encoded, smooth


def cut(stream: bytes, top: int, left: int, bottom: int, right: int):
    """What `cut_box` returns, and the new stream; both streams lie before memory that cannot be touched."""
    given, out = guarded(stream), guarded(bytes(len(stream)))
    found = cut_box(given, top, left, bottom, right, out)
    return found, out[: max(found.size, 0)].tobytes()


@pytest.mark.parametrize("images", [60, pytest.param(4000, marks=pytest.mark.slow)])
def test_pixels_are_those_of_the_whole_image(images, monkeypatch):
    rng, seen, inside_rows = np.random.default_rng(images), set(), 0
    for _ in range(images):
        monkeypatch.setattr(restart, "_PIECE", int(rng.choice([1, 16, 32, 1000])))
        plain, subsampling = drawn(rng)
        stream = with_restart_rows(plain)
        whole = decoded(plain)
        height, width, _ = whole.shape
        for _ in range(4):
            top, left = int(rng.integers(height)), int(rng.integers(width))
            bottom, right = int(rng.integers(top + 1, height + 1)), int(rng.integers(left + 1, width + 1))
            found, part = cut(stream, top, left, bottom, right)
            assert found.size >= WHOLE
            if found.size == WHOLE:
                continue
            seen.add(subsampling)
            inside_rows += found.width < width
            for pixels in (decoded(part), simplejpeg.decode_jpeg(part, "RGB")):
                assert pixels.shape == (found.height, found.width, 3)
                got = pixels[top - found.top : bottom - found.top, left - found.left : right - found.left]
                assert np.array_equal(got, whole[top:bottom, left:right])
    assert len(seen) == 6
    assert inside_rows > images // 2


def test_no_more_than_needed():
    """A line inside a row of MCUs needs that row; the first line needs the row above, for the smoothing of colours."""
    stream = with_restart_rows(encoded(smooth(np.random.default_rng(0), 100, 128), "420"))
    assert cut(stream, 33, 33, 47, 63)[0][1:] == (32, 32, 16, 32)
    assert cut(stream, 32, 32, 48, 64)[0][1:] == (16, 0, 48, 96)
    assert cut(stream, 0, 0, 1, 1)[0][1:] == (0, 0, 16, 32)
    assert cut(stream, 99, 127, 100, 128)[0][1:] == (96, 96, 4, 32)
    assert cut(stream, 0, 0, 100, 128)[0] == (WHOLE, 0, 0, 0, 0)


def test_other_streams_are_decoded_whole():
    pixels = smooth(np.random.default_rng(1), 64, 48)
    for stream in (
        encoded(pixels, "420"),  # no markers
        by_pillow(pixels, progressive=True, restart_marker_rows=1),
        by_pillow(pixels, restart_marker_blocks=2),
        simplejpeg.encode_jpeg(np.dstack([pixels, pixels[..., :1]]), 90, "CMYK", "444"),
        b"",
        b"\xff\xd8\xff",
        b"no JPEG at all, but long enough to look like one",
    ):
        assert cut(stream, 10, 10, 20, 20)[0] == (WHOLE, 0, 0, 0, 0)
    assert cut(by_pillow(pixels, restart_marker_rows=1), 10, 10, 20, 20)[0].size > 0


def test_markers_that_are_not_those_of_the_rows():
    stream = with_restart_rows(encoded(smooth(np.random.default_rng(2), 100, 40), "420"))
    third = stream.index(b"\xff\xd2")
    for damaged in (
        stream[:third] + stream[third + 2 :],  # one is missing
        stream[:third] + b"\xff\xd2" + stream[third:],  # one too many
        stream[:third] + b"\xff\xd5" + stream[third + 2 :],  # out of order
        stream[:-2],  # no end
    ):
        assert cut(damaged, 20, 0, 30, 40)[0].size == WRONG


def test_a_stream_cut_anywhere_is_never_cut_into():
    """Each beginning of a stream is refused, or has no row to cut; nothing behind it is read."""
    stream = with_restart_rows(encoded(smooth(np.random.default_rng(3), 70, 30), "422"))
    for length in range(len(stream)):
        assert cut(stream[:length], 20, 0, 40, 9)[0].size in (WHOLE, WRONG)


@pytest.mark.parametrize("streams", [400, pytest.param(100_000, marks=pytest.mark.slow)])
def test_damaged_streams_are_refused_or_cut(streams):
    """Whatever the bytes: no read outside, no write outside, and a new stream that is no longer than the old one."""
    rng, cuts = np.random.default_rng(4), 0
    whole = [np.frombuffer(with_restart_rows(drawn(rng)[0]), np.uint8) for _ in range(20)]
    room = max(map(len, whole))
    given, out = guarded(bytes(room)), guarded(bytes(room))
    for _ in range(streams):
        damaged = whole[rng.integers(len(whole))].copy()
        places = rng.integers(0, len(damaged), rng.integers(1, 6))
        damaged[places] = rng.choice([0, 1, 8, 0x11, 0x7F, 0xC0, 0xD0, 0xD7, 0xD9, 0xDA, 0xDD, 0xFF], len(places))
        damaged = damaged[: rng.integers(len(damaged)) if rng.random() < 0.2 else None]
        stream, target = given[room - len(damaged) :], out[room - len(damaged) :]
        stream[:] = damaged
        top = int(rng.integers(0, 90))
        found = cut_box(stream, top, top // 2, top + int(rng.integers(1, 90)), top // 2 + 9, target)
        assert WRONG <= found.size <= len(stream)
        cuts += found.size > 0
    assert cuts > streams // 20
