"""Writes the two files that DALI's WebDataset reader takes: a `.tar` of samples and its text index `.idx`.

Sample i is two members, `{i:08d}.png` (or `.jpg`) and `{i:08d}.cls` (the label in ASCII digits). PNG images are not
compressed, so that their bytes depend on the pixels alone and not on the version of a compression library, and decoding
is a copy. Owner, date and mode of every member are fixed. So two conversions give the same bytes.
"""

import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from convert.writers.arrays import check_arrays
from convert.writers.streams import Streams
from loaders.formats.atomic import atomic_path
from loaders.formats.tar import BLOCK, VERSION


def write_tar(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None = None,
) -> None:
    """Write images and labels as a `.tar` and, beside it, its `.idx`; sample id i is row i.

    Args:
        path: the `.tar` to appear, by atomic rename; the index gets the same name with `.idx` and comes last.
        images_NHWC: uint8 [N, H, W, C], N >= 1; C is 3, or 1: grey PNG, which every reader gives as RGB.
        labels_N: integers [N].
        on_samples: called now and then with the number of samples written since its last call.

    Raises:
        ValueError: an array has another shape or dtype.
        OSError: the disk is full or the file cannot be written; nothing is left behind.
    """
    images_NHWC, labels_N = check_arrays(images_NHWC, labels_N)
    _write(path, "png", map(encode_png, images_NHWC), labels_N, on_samples)


def write_jpeg_tar(path: str | Path, streams: Streams, on_samples: Callable[[int], None] | None = None) -> None:
    """Write JPEG streams, byte for byte, as a `.tar` and, beside it, its `.idx`; sample id i is stream i.

    Arguments and errors are those of `write_tar`.
    """
    _write(path, "jpg", (streams[i].tobytes() for i in range(len(streams))), streams.labels, on_samples)


def _write(
    path: str | Path,
    extension: str,
    contents: Iterable[bytes],
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None,
) -> None:
    path, lines, offset = Path(path), [f"{VERSION} {len(labels_N)}"], 0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for sample, (image, label) in enumerate(zip(contents, labels_N, strict=True)):
            parts = []
            for part, content in ((extension, image), ("cls", b"%d" % label)):
                name = f"{sample:08d}.{part}"
                parts.append(f"{part} {offset + BLOCK} {len(content)} {name}")
                padding = -len(content) % BLOCK
                file.write(_header(name, len(content)) + content + bytes(padding))
                offset += BLOCK + len(content) + padding
            lines.append(" ".join(parts))
            if on_samples is not None and (sample + 1) % 1000 == 0:
                on_samples(1000)
        file.write(bytes(2 * BLOCK))
    if on_samples is not None:
        on_samples(len(labels_N) % 1000)
    with atomic_path(path.with_suffix(".idx")) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def encode_png(image_HWC: np.ndarray) -> bytes:
    """Return an image uint8 [H, W, C] as an 8-bit PNG, RGB or grey, without compression (RFC 2083, stored blocks)."""
    height, width, channels = image_HWC.shape
    rows = np.zeros((height, 1 + channels * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = image_HWC.reshape(height, -1)
    raw = rows.tobytes()
    stream = [b"\x78\x01"]
    for start in range(0, len(raw), 0xFFFF):
        block = raw[start : start + 0xFFFF]
        last = start + len(block) == len(raw)
        stream.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    stream.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(stream)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _header(name: str, num_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)  # date, owner and group are 0, the mode is 0644
    member.size = num_bytes
    return member.tobuf(tarfile.USTAR_FORMAT)
