"""No claimed size is believed: each of these files is small, and claims giga- or petabytes."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from loaders.formats.claims import (
    ALWAYS_ALLOWED,
    MAX_GROWTH,
    are_too_many_pixels,
    check_expanded,
    check_stored,
    read_limited,
)
from loaders.formats.npz_file import read_arrays
from loaders.formats.pixels.image_file import decode_image


def test_what_is_stored_must_be_there():
    check_stored("x", 10, 10)
    for claimed in (11, -1, 1 << 80):
        with pytest.raises(ValueError, match=f"x claims {claimed:,} bytes, and 10 are there"):
            check_stored("x", claimed, 10)


def test_what_is_compressed_grows_by_a_factor_or_stays_small():
    check_expanded("x", ALWAYS_ALLOWED, 1, 1 << 40)
    check_expanded("x", MAX_GROWTH << 20, 1 << 20, 1 << 40)
    for claimed, stored, limit in (
        (ALWAYS_ALLOWED + 1, 1, 1 << 40),
        ((MAX_GROWTH << 20) + 1, 1 << 20, 1 << 40),
        (1001, 1 << 20, 1000),
    ):
        with pytest.raises(ValueError, match=f"x claims {claimed:,} bytes, at most"):
            check_expanded("x", claimed, stored, limit)


def test_pixels_of_images():
    """Of 13,000 x 13,000, in 1 MB: possible. In 100 kB, or more than the limit: not. Raw pixels of any size are."""
    heights, stored = np.array([13_000, 13_000, 20_000, 20_000, 100]), np.array([10**6, 10**5, 10**8, 3 * 20_000**2, 9])
    assert are_too_many_pixels(heights, heights, stored).tolist() == [False, True, True, False, False]


def test_a_file_of_a_small_kind(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_limited(tmp_path / "x", 5) == b"12345"
    with pytest.raises(ValueError, match="x has 5 bytes, and no file of its kind has more than 4"):
        read_limited(tmp_path / "x", 4)
    with open(tmp_path / "x", "wb") as file:
        file.truncate(1 << 40)  # a terabyte of holes
    with pytest.raises(ValueError, match=f"x has {1 << 40:,} bytes"):
        read_limited(tmp_path / "x", 4)


def npz(name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def npy(shape: tuple[int, ...], num_bytes: int) -> bytes:
    """An array whose header tells a shape, and `num_bytes` zeros."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(num_bytes)


def test_arrays():
    assert read_arrays(npz("a.npy", npy((2, 2), 32)), ("a",), 1000)[0].tolist() == [[0, 0], [0, 0]]
    packed = npz("a.npy", npy((1000,), 8000), zipfile.ZIP_DEFLATED)
    assert read_arrays(packed, ("a",), 10_000)[0].sum() == 0
    for content, message in (
        (npz("a.npy", npy((400_000_000,), 1000)), "a.npy claims 3,200,000,000 bytes, and 1,000 are there"),
        (npz("a.npy", npy((-1,), 1000)), "claims"),
        (npz("a.npy", bytes(50_000_000), zipfile.ZIP_DEFLATED), "a.npy claims 50,000,000 bytes, at most 10,000"),
        (npz("a.npy", bytes(50_000_000), zipfile.ZIP_BZIP2), "is packed in a way that NumPy does not write"),
        (npz("b.npy", b""), "There is no item named"),
        (npz("a.npy", np.lib.format.magic(1, 0) + b"\x10\x27" + b"(" * 10_000), "."),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read_arrays(content, ("a",), 10_000)
        assert "\n" not in str(caught.value)


def test_an_image_is_not_decoded_whose_header_claims_too_much():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    assert decode_image(bytes(content), ("PNG",)).rgb.size == (8, 8)
    content[16:24] = (8_000).to_bytes(4, "big") * 2
    content[29:33] = zipfile.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(ValueError, match=f"it is not a whole image: 8000 x 8000 pixels in {len(content)} bytes"):
        decode_image(bytes(content), ("PNG",))
    with pytest.raises(ValueError, match="it is no JPEG or BMP"):
        decode_image(buffer.getvalue(), ("JPEG", "BMP"))
