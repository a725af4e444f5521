"""Pixels of every kind of file: 16 bits and floats scaled, transparency, orientation, very large images."""

import io
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from loaders.formats.pixels import image_file
from loaders.formats.pixels.image_file import PixelRules, VeryLargeImage, decode_image

ALL = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "AVIF")
WORDS = np.array([[0, 1, 127, 128, 129, 255, 256, 385, 386, 32767, 32768, 65000, 65406, 65407, 65535]] * 3, np.uint16)
BYTES = np.round(WORDS / 257).astype(np.uint8)  # 255 / 65535 is 1 / 257: no value is halfway


def png(values: np.ndarray, *, before_pixels: bytes = b"") -> bytes:
    """A PNG of 16 bits, from values [H, W, C]."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = before_pixels and chunk(b"tRNS", before_pixels)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + pixels + chunk(b"IEND", b"")


def saved(image: Image.Image | np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format, **options)
    return buffer.getvalue()


def decoded(content: bytes, **rules) -> np.ndarray:
    return np.asarray(decode_image(content, ALL, PixelRules(**rules)).rgb)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


DEEP = {
    "PNG": png(WORDS[..., None]),
    "PGM": b"P5\n15 3\n65535\n" + WORDS.astype(">u2").tobytes(),
    "TIFF": saved(WORDS, "TIFF"),
    "TIFF, compressed": saved(WORDS, "TIFF", compression="tiff_adobe_deflate"),
    "PPM": b"P6\n15 3\n65535\n" + grey(WORDS).astype(">u2").tobytes(),
    "RGB PNG": png(grey(WORDS)),
    "RGBA PNG": png(np.dstack([grey(WORDS), np.full_like(WORDS, 65535)])),
    "grey and alpha PNG": png(np.dstack([WORDS, np.full_like(WORDS, 65535)])),
    "float TIFF": saved((WORDS / 65535).astype(np.float32), "TIFF"),
    "PFM": b"Pf\n15 3\n-1.0\n" + (WORDS / 65535).astype("<f4")[::-1].tobytes(),
    "signed TIFF of 32 bits": saved((WORDS.astype(np.int64) * 65537 - 2**31).astype(np.int32), "TIFF"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_8_bits_are_scaled_by_the_range_of_their_type(kind):
    found = decode_image(DEEP[kind], ALL)
    assert np.array_equal(np.asarray(found.rgb), grey(BYTES))
    assert found.facts - {"alpha"} == {"deep"}


@pytest.mark.parametrize("kind", [kind for kind in DEEP if kind != "PPM" and "32" not in kind])
def test_a_range_of_ones_own(kind):
    is_float = "float" in kind or kind == "PFM"
    low, high = (1000 / 65535, 33000 / 65535) if is_float else (1000, 33000)
    wanted = np.clip(np.floor((WORDS.astype(float) - 1000) * 255 / 32000 + 0.5), 0, 255)
    assert np.array_equal(decoded(DEEP[kind], value_range=(low, high)), grey(wanted))


def test_8_bits_know_no_range_and_a_ppm_of_16_bits_says_so():
    plain = saved(BYTES, "PNG")
    assert np.array_equal(decoded(plain, value_range=(0, 10)), grey(BYTES))
    with pytest.raises(ValueError, match="gives only 8 bits of each value, so that --range cannot apply"):
        decoded(DEEP["PPM"], value_range=(0, 10))


def test_floats_outside_their_range_need_one():
    values = np.array([[0, 128, 255]], np.float32)
    with pytest.raises(ValueError, match=r"its values go from 0 to 255, and not from 0 to 1: give --range LOW HIGH"):
        decoded(saved(values, "TIFF"))
    assert decoded(saved(values, "TIFF"), value_range=(0, 255))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="floating-point values are not finite"):
        decoded(saved(np.array([[0, np.nan]], np.float32), "TIFF"), value_range=(0, 1))


@pytest.mark.dali
@pytest.mark.parametrize("kind", [kind for kind in DEEP if "PNG" in kind])
def test_dali_gives_the_same_of_16_bits(kind):
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        stream = fn.external_source(lambda: [np.frombuffer(DEEP[kind], np.uint8)])
        return fn.decoders.image(stream, output_type=types.RGB)

    pipe = pipeline()
    pipe.build()
    assert np.array_equal(pipe.run()[0].at(0), decoded(DEEP[kind]))


def test_transparency_is_composited_or_dropped():
    half = np.full((2, 2, 4), (200, 100, 0, 51), np.uint8)  # a fifth opaque
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    for content, dropped, on_white, on_black in (
        (saved(half, "PNG"), (200, 100, 0), (244, 224, 204), (40, 20, 0)),
        (saved(half, "WEBP", lossless=True, exact=True), (200, 100, 0), (244, 224, 204), (40, 20, 0)),
        (saved(np.full((2, 2, 2), (100, 51), np.uint8), "PNG"), (100,) * 3, (224,) * 3, (20,) * 3),
        (saved(palette, "PNG", transparency=0), (10, 20, 30), (255,) * 3, (0,) * 3),
        (saved(palette, "GIF", transparency=0), (10, 20, 30), (255,) * 3, (0,) * 3),
        (png(np.full((2, 2, 1), 7, np.uint16), before_pixels=b"\0\x07"), (0,) * 3, (255,) * 3, (0,) * 3),
    ):
        for background, wanted in ((None, dropped), ((255, 255, 255), on_white), ((0, 0, 0), on_black)):
            assert tuple(decoded(content, background=background)[0, 0].tolist()) == wanted
        assert "alpha" in decode_image(content, ALL).facts


TURNED = {  # what EXIF's orientation means, in NumPy
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_pixels_are_as_stored_in_every_format_or_turned(format, orientation):
    pixels = np.kron(np.arange(6).reshape(2, 3) * 40, np.ones((16, 16))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 100}}.get(format, {})
    content = saved(grey(pixels), format, exif=exif, **options)
    for orient in (False, True):
        found = decode_image(content, ALL, PixelRules(orient=orient))
        wanted = grey(TURNED[orientation if orient else 1](pixels))
        assert np.asarray(found.rgb).shape == wanted.shape
        assert np.abs(np.asarray(found.rgb).astype(int) - wanted).max() <= 4
        assert (found.orientation, "tagged" in found.facts) == (orientation, orientation != 1)


MODES = "CMYK JPEG, CMYK TIFF, YCbCr JPEG, RGB JPEG, RGB MPO, L JPEG, L PNG, L PPM, 1 PNG, P PNG, P GIF, LA PNG"


@pytest.mark.parametrize("kind", MODES.split(", "))
def test_other_modes_are_as_pillow_converts_them(kind):
    mode, format = kind.split()
    image = Image.merge("RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L")])
    content = saved(image.resize((32, 24)).convert(mode), format, progressive=True)
    wanted = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(decoded(content), wanted)
    assert np.array_equal(decoded(content, background=(255, 255, 255)), wanted)


def test_of_several_frames_the_first():
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    for format in ("GIF", "TIFF", "WEBP", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        found = decode_image(saved(frames[0], format, save_all=True, append_images=frames[1:], **options), ALL)
        assert (np.asarray(found.rgb) == 10).all()
        assert "frames" in found.facts


def test_a_white_page_is_no_bomb_where_its_owner_converts_it():
    page = saved(Image.new("1", (2480, 3508), 1), "TIFF", compression="group4")
    with pytest.raises(ValueError, match=r"3508 x 2480 pixels in [\d,]+ bytes"):
        decode_image(page, ALL)
    assert decode_image(page, ALL, PixelRules(trusted=True, max_side=10)).rgb.size == (7, 10)


def test_very_large_images_need_a_limit(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 64 * 64)
    for format in ("JPEG", "PNG"):
        content = saved(Image.linear_gradient("L").resize((256, 200)), format)
        with pytest.raises(VeryLargeImage, match=r"it has 200 x 256 pixels, more than 4,096"):
            decode_image(content, ALL)
        found = decode_image(content, ALL, PixelRules(max_side=32))
        assert found.rgb.size == (32, 25)
        assert found.facts == {"reduced", "resized"}
        assert decode_image(content, ALL, PixelRules(max_pixels=800)).rgb.size == (32, 25)
        reference = Image.linear_gradient("L").resize((256, 200)).resize((32, 25), Image.Resampling.BOX)
        assert np.abs(np.asarray(found.rgb).astype(int)[..., 0] - np.asarray(reference)).mean() < 4


def test_fitted_sizes():
    assert PixelRules(max_side=100).fitted(300, 200) == (100, 67)
    assert PixelRules(max_pixels=100).fitted(20, 20) == (10, 10)
    assert PixelRules(max_side=100, max_pixels=100).fitted(4000, 1) == (100, 1)
    assert PixelRules(max_side=300, max_pixels=60_000).fitted(300, 200) == (300, 200)


@pytest.mark.dali
def test_all_backends_give_the_same_of_16_bits_in_a_tar(tmp_path):
    from loaders.augment.config import Augment
    from loaders.loader import make_loader
    from loaders.types import EpochPlan

    streams = [DEEP[kind] for kind in ("PNG", "RGB PNG", "RGBA PNG", "grey and alpha PNG")]
    lines, offset = [f"v1.2 {len(streams)}"], 0
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for i, content in enumerate(streams):
            parts = []
            for part, data in (("png", content), ("cls", b"0")):
                member = tarfile.TarInfo(f"{i}.{part}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
                parts.append(f"{part} {offset + 512} {len(data)} {i}.{part}")
                offset += 512 + -(-len(data) // 512) * 512
            lines.append(" ".join(parts))
    (tmp_path / "x.idx").write_text("\n".join(lines) + "\n")
    plan = EpochPlan(np.arange(len(streams)))
    for backend in ("reference", "dali"):
        loader = make_loader(tmp_path / "x.tar", 4, backend=backend, augment=Augment(), dtype=torch.uint8)
        (batch,) = loader.epoch(plan)
        assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), np.stack([grey(BYTES)] * len(streams)))
