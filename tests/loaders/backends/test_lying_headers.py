"""JPEG streams whose headers lie: a backend raises a sentence that names the sample, or delivers what is in the stream.

It never delivers memory that it did not write: here that would be the images of the batch before.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import Augment, EpochPlan, make_loader, open_dataset
from loaders.backends.dali_decoder import Decoder
from loaders.formats.beton_layout import ALLOCATION, HEADER
from loaders.formats.image_header import jpeg_size

BACKENDS = [
    "reference",
    "native",
    pytest.param("ffcv", marks=pytest.mark.ffcv),
    pytest.param("dali", marks=pytest.mark.dali),
]
WITHOUT_LENGTH = [0x01, *range(0xD0, 0xD8)]
HEIGHT, WIDTH, VICTIM = 24, 40, 8  # the size in the records, and the sample that lies
FALSE_FRAME = bytes((0xFF, 0xC0, 0, 17, 8, 0, HEIGHT, 0, WIDTH, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))


def encoded(height: int, width: int) -> bytes:
    """A JPEG stream."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 40)).save(stream, "jpeg")
    return stream.getvalue()


def comment(payload: bytes) -> bytes:
    """A segment that decoders skip."""
    return b"\xff\xfe" + (2 + len(payload)).to_bytes(2, "big") + payload


def lying(marker: int) -> bytes:
    """A JPEG of 16 x 32 pixels. Who takes the two bytes after `marker` for a length sees a frame of 24 x 40 first.

    They are the marker of a comment, FF FE. The segment that they seem to be as long as ends inside a second comment.
    """
    real, first = encoded(16, 32), comment(bytes(0xFFFE - 8))
    return real[:2] + bytes((0xFF, marker)) + first + comment(FALSE_FRAME) + real[2:]


def with_stream(source: Path, target: Path, stream: bytes) -> None:
    """Copy a `.beton` of JPEGs; the image of sample `VICTIM` becomes `stream`, its record stays."""
    content, dataset = source.read_bytes(), open_dataset(source)
    header = np.frombuffer(content[: HEADER.itemsize], HEADER).copy()
    table, old = int(header["alloc_table_ptr"][0]), dataset.offsets[VICTIM]
    allocations = np.frombuffer(content[table:], ALLOCATION).copy()
    (row,) = np.flatnonzero(allocations["ptr"] == old)
    allocations["ptr"][row], allocations["size"][row] = table, len(stream)
    header["alloc_table_ptr"] = table + len(stream)
    records = content[HEADER.itemsize : table].replace(int(old).to_bytes(8, "little"), table.to_bytes(8, "little"), 1)
    target.write_bytes(header.tobytes() + records + stream + allocations.tobytes())


def deliver(path: Path, backend: str, resize: int, first: int = 20) -> torch.Tensor:
    """The image of sample `VICTIM`, uint8 [3, H, W], where eight images from `first` on were before."""
    loader = make_loader(path, 4, backend=backend, dtype=torch.uint8, augment=Augment(resize=resize), num_threads=1)
    batches = list(loader.epoch(EpochPlan(np.append(np.arange(first, first + 8), VICTIM))))
    return batches[-1].images[0].int()


@pytest.mark.parametrize("marker", WITHOUT_LENGTH)
def test_markers_without_length(marker):
    assert jpeg_size(np.frombuffer(lying(marker), np.uint8)) == (16, 32)


@pytest.mark.parametrize(
    "before",
    [
        b"\xff\xd8",  # another start
        b"\xff\xd9",  # the end
        b"\xff\xda\0\x02" + b"\xff\0",  # a scan
        b"\xff\x02\0\x02",  # a reserved marker
        b"\xff\0",  # a stuffed byte of entropy-coded data
        b"\xff\xfe\0\x01",  # too short for its own length
        b"\0",  # no marker
    ],
)
def test_what_may_not_come_before_the_frame_header(before):
    real = encoded(16, 32)
    assert jpeg_size(np.frombuffer(real[:2] + before + real[2:], np.uint8)) == (0, 0)


def test_fill_bytes_are_stepped_over():
    real = encoded(16, 32)
    assert jpeg_size(np.frombuffer(real[:2] + b"\xff\xff\xff" + real[2:], np.uint8)) == (16, 32)


@pytest.mark.parametrize("resize", [0, 16])
@pytest.mark.parametrize("marker", [0x01, 0xD0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_false_frame_header_is_refused(betons, tmp_path, backend, marker, resize):
    with_stream(betons["jpeg"].path, tmp_path / "x.beton", lying(marker))
    with pytest.raises(ValueError, match=f"the JPEG of sample {VICTIM} cannot be decoded"):
        deliver(tmp_path / "x.beton", backend, resize)


@pytest.mark.parametrize("resize", [0, 16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_streams_are_refused_or_delivered_as_they_are(betons, tmp_path, backend, resize):
    """What is delivered follows from the stream alone, whatever the buffers held before."""
    dataset, rng = open_dataset(betons["jpeg"].path), np.random.default_rng(7)
    stream = dataset.bytes(VICTIM)
    for _ in range(8):
        damaged = stream[: rng.integers(200, len(stream))] if rng.random() < 0.5 else stream.copy()
        places = rng.integers(2, len(damaged), rng.integers(0, 3))
        damaged = damaged.copy()
        damaged[places] = rng.choice([0, 1, 2, 17, 0xC0, 0xD0, 0xD9, 0xFF], len(places))
        with_stream(betons["jpeg"].path, tmp_path / "x.beton", damaged.tobytes())
        try:
            first, second = (deliver(tmp_path / "x.beton", backend, resize, before) for before in (10, 30))
        except (RuntimeError, ValueError) as error:
            assert f"the JPEG of sample {VICTIM} cannot be decoded" in str(error)  # noqa: PT017 (it may be delivered)
        else:
            assert torch.equal(first, second)


@pytest.mark.dali
def test_what_dali_decodes_is_compared_with_the_record(betons, tmp_path, monkeypatch):
    monkeypatch.setattr(Decoder, "_check_sizes", lambda self, ids: None)  # as if it took the header for another
    with_stream(betons["jpeg"].path, tmp_path / "x.beton", encoded(16, 32))
    with pytest.raises(ValueError, match=r"sample 8 cannot be used: DALI decodes 16 x 32 pixels, its record says 24 x"):
        deliver(tmp_path / "x.beton", "dali", resize=0)
