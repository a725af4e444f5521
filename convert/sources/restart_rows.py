"""Sets restart markers into the JPEG streams that are kept, so that a loader can read the rows that it needs."""

from pathlib import Path

import numpy as np
import simplejpeg

from loaders.formats.jpeg import restart
from loaders.formats.jpeg.header import has_restart_rows, read_scan
from loaders.formats.manifest import Manifest
from loaders.formats.open import open_dataset

NOTE = "rows of pixels end in restart markers where the stream is baseline"


def with_restart_rows(content: bytes) -> bytes:
    """Return a JPEG stream whose rows end in restart markers, and whose pixels are the same to the bit.

    No coefficient is touched; the result is decoded and compared. The stream itself is returned where it has such
    markers, and where it cannot have them: a progressive one, one of four colours, one of which the decoder warns.

    Args:
        content: a whole stream; what follows its end is left out.
    """
    rewritten = restart.with_restart_rows(content)
    if rewritten is None or rewritten is content:
        return content
    try:
        same = np.array_equal(simplejpeg.decode_jpeg(rewritten, "RGB"), simplejpeg.decode_jpeg(content, "RGB"))
    except ValueError:  # libjpeg-turbo warns of something in the stream
        return content
    return rewritten if same else content


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
