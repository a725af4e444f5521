"""What a folder of tables holds: the files, the labels and the classes of each split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.sources.huggingface.columns import Columns, find_columns
from convert.sources.huggingface.files import files_by_split
from convert.sources.huggingface.rows import numbered, read_labels, read_schema


@dataclass(frozen=True)
class Tables:
    """A labelled data set in tables.

    Attributes:
        columns: where images and labels are.
        files: by split, in the order of their rows.
        labels: int64 [N] by split.
        classes: label k is classes[k].
        left_out: a phrase on each split that has no labels, or no rows.
    """

    columns: Columns
    files: dict[str, list[Path]]
    labels: dict[str, np.ndarray]
    classes: tuple[str, ...]
    left_out: tuple[str, ...]


def read_tables(path: Path, image: str | None = None, label: str | None = None) -> Tables:
    """Find the splits of `path` and read their labels; no image is read.

    Args:
        path: as in `files_by_split`.
        image, label: names of the columns, where the caller knows.

    Raises:
        FileNotFoundError, ValueError: there is no such data set, it is damaged, or its train split has no labels.
        ImportError: pyarrow is not installed.
    """
    files = files_by_split(path)
    first = next(iter(files.values()))[0]
    columns = find_columns(read_schema(first), image, label, str(first))
    values = {
        split: [value for file in paths for value in read_labels(file, columns)] for split, paths in files.items()
    }
    try:
        labels, classes = numbered(values, columns.names)
    except ValueError as error:
        raise ValueError(f"{path}, column {columns.label!r}: {error}") from None
    unlabelled = {split: np.count_nonzero(content < 0) for split, content in labels.items()}
    left_out = tuple(
        f"{split}, {len(labels[split]):,} images, {count:,} of them without a label"
        for split, count in unlabelled.items()
        if count or not len(labels[split])
    )
    labels = {split: content for split, content in labels.items() if len(content) and not unlabelled[split]}
    if "train" not in labels:
        raise ValueError(f"{path} has no split named train with labels, its splits are {', '.join(files)}")
    return Tables(columns, {split: files[split] for split in labels}, labels, classes, left_out)
