"""Sets restart markers into the JPEG streams that are kept, so that a loader can read the rows that it needs."""

import io
from pathlib import Path

from PIL import Image

from loaders.formats.jpeg import restart
from loaders.formats.jpeg.header import has_restart_rows, read_scan
from loaders.formats.manifest import Manifest
from loaders.formats.open import open_dataset

NOTE = "rows of pixels end in restart markers where the stream is baseline"


def with_restart_rows(content: bytes) -> bytes:
    """Return a JPEG stream whose rows end in restart markers, and whose pixels are the same to the bit.

    No coefficient is touched; the result is decoded and compared. The stream itself is returned where it has such
    markers, and where it cannot have them: a progressive one, one of four colours.

    Args:
        content: a whole stream; what follows its end is left out.
    """
    rewritten = restart.with_restart_rows(content)
    if rewritten is None or rewritten is content:
        return content
    return rewritten if _pixels(rewritten) == _pixels(content) else content


def _pixels(content: bytes) -> bytes:
    return Image.open(io.BytesIO(content), formats=("JPEG",)).tobytes()


def left_out(folder: Path, manifest: Manifest) -> str | None:
    """Say in one sentence how many images of a converted data set have no restart markers; None where all have them."""
    total = without = 0
    for split in manifest.splits.values():
        dataset = open_dataset(folder / min(file for file in split.files if not file.endswith(".idx")))
        total += dataset.num_samples
        without += sum(not has_restart_rows(read_scan(dataset.bytes(sample))) for sample in range(dataset.num_samples))
    if not without:
        return None
    return (
        f"{without:,} of {total:,} images have no restart markers (progressive, or of four colours): they are decoded "
        "whole, which takes about 1.3 times as long"
    )
