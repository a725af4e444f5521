"""What a part of a data set leaves beside its manifest, for the merge: `part.json`."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from loaders.formats.atomic import atomic_path
from loaders.formats.json_file import entry, read_json, typed

FILE_NAME = "part.json"


class PartStamp(NamedTuple):
    """Which part of what a folder holds.

    Attributes:
        number, of: it is the `number`-th of `of` parts, counted from 1.
        listing_sha256: of all images of all parts, see `convert.sources.part.listing_digest`.
    """

    number: int
    of: int
    listing_sha256: str


def write_part_file(folder: Path, stamp: PartStamp, histogram: np.ndarray) -> None:
    """Write `folder/part.json`, atomically.

    Args:
        histogram: int64 [3, 256], the number of pixels of each value in the train split.

    Raises:
        OSError: the file cannot be written.
    """
    values = {**stamp._asdict(), "histogram": histogram.tolist()}
    with atomic_path(folder / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")


def read_part_file(folder: Path) -> tuple[PartStamp, np.ndarray]:
    """Read `folder/part.json`: the stamp, and the histogram as it was written.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    path = folder / FILE_NAME
    try:
        values, name = read_json(path), str(path)
        stamp = PartStamp(
            entry(values, "number", int, name),
            entry(values, "of", int, name),
            entry(values, "listing_sha256", str, name),
        )
        rows = [typed(row, list, f"{name}: histogram") for row in entry(values, "histogram", list, name)]
        counts = [[typed(count, int, f"{name}: histogram") for count in row] for row in rows]
        if len(counts) != 3 or any(len(row) != 256 or not 0 <= min(row) <= max(row) < 1 << 62 for row in counts):
            raise ValueError(f"{name}: histogram is not 3 rows of 256 counts")
    except ValueError as error:
        raise ValueError(f"{error}: delete {folder} and convert this part again") from None
    return stamp, np.array(counts, np.int64)
