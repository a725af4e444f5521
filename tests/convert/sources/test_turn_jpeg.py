"""A JPEG image is turned without a change to its coefficients, or not at all."""

import io

import numpy as np
import pytest
from PIL import Image

from convert.sources.turn_jpeg import can_turn, turn_jpeg
from loaders.formats.pixels.stored import turned

pytestmark = pytest.mark.skipif(not can_turn(), reason="libturbojpeg is not installed")


def stream(width: int, height: int, **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=80, subsampling=0, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pixels_are_those_of_the_turned_image(orientation):
    content = stream(32, 24, exif=Image.Exif())
    result = turn_jpeg(content, orientation)
    assert result is not None
    wanted = turned(Image.open(io.BytesIO(content)).convert("RGB"), orientation)
    found = Image.open(io.BytesIO(result))
    assert found.size == wanted.size
    # The inverse transform of a turned block rounds in another order, before colours are converted.
    assert np.abs(np.asarray(found).astype(int) - np.asarray(wanted)).max() <= 4
    back = turn_jpeg(result, {6: 8, 8: 6}.get(orientation, orientation))
    assert back is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(back))), np.asarray(Image.open(io.BytesIO(content))))


def test_not_where_part_of_a_block_would_move_and_not_what_is_damaged():
    assert turn_jpeg(stream(30, 24), 2) is None
    assert turn_jpeg(stream(32, 24)[:-200], 3) is None
    assert turn_jpeg(b"", 3) is None
