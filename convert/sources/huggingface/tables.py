"""What a folder of tables holds: the files, the labels and the classes of each split."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.sources.folder.classes import few_in_order
from convert.sources.huggingface.columns import Columns, find_columns
from convert.sources.huggingface.files import files_by_split
from convert.sources.huggingface.rows import numbered, read_labels, read_schema
from loaders.formats.series import missing_in_series


@dataclass(frozen=True)
class Tables:
    """A labelled data set in tables.

    Attributes:
        columns: where images and labels are.
        files: by split, in the order of their rows.
        labels: int64 [N] by split.
        classes: label k is classes[k].
        left_out: a phrase on each split that has no labels, or no rows, or of which files are missing.
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
        FileNotFoundError, ValueError: there is no such data set, it is damaged, its train split has no labels, or its
            files number the classes differently.
        ImportError: pyarrow is not installed.
    """
    files = files_by_split(path)
    columns, bare = _common_columns(files, image, label)
    values = {
        split: [value for file in paths for value in read_labels(file, columns)]
        for split, paths in files.items()
        if split not in bare
    }
    try:
        labels, classes = numbered(values, columns.names)
    except ValueError as error:
        raise ValueError(f"{path}, column {columns.label!r}: {error}") from None
    unlabelled = {split: np.count_nonzero(content < 0) for split, content in labels.items()}
    left_out = tuple(f"{split}, which has no column {columns.label}" for split in bare) + tuple(
        f"{split}, {len(labels[split]):,} images, {count:,} of them without a label"
        for split, count in unlabelled.items()
        if count or not len(labels[split])
    )
    labels = {split: content for split, content in labels.items() if len(content) and not unlabelled[split]}
    for split in labels:
        missing = missing_in_series(file.name for file in files[split])
        if missing:
            left_out += (f"files of {split}, which are not there: {few_in_order(missing)}",)
    if "train" not in labels:
        why = f" (left out: {'; '.join(left_out)})" if left_out else ""
        raise ValueError(f"{path} has no split named train with all labels, its splits are {', '.join(files)}{why}")
    return Tables(columns, {split: files[split] for split in labels}, labels, classes, left_out)


def _common_columns(
    files: dict[str, list[Path]], image: str | None, label: str | None
) -> tuple[Columns, tuple[str, ...]]:
    """The columns of all files, and the splits other than the first without a column of labels.

    The names of the classes must be the same in all files: a label is a position in them.
    """
    first, *others = ((split, file) for split, paths in files.items() for file in paths)
    columns = find_columns(read_schema(first[1]), image, label, str(first[1]))
    source, bare = first[1], dict[str, None]()
    for split, file in others:
        schema = read_schema(file)
        if columns.label not in schema.names and split != first[0]:
            bare[split] = None
            continue
        names = find_columns(schema, columns.image, columns.label, str(file)).names
        if columns.names is None:
            columns, source = replace(columns, names=names), file
        elif names is not None and names != columns.names:
            raise ValueError(
                f"{source} and {file} name the classes of column {columns.label!r} differently "
                f"({few_in_order(columns.names)}; {few_in_order(names)}): save the splits again with the same names in "
                "the same order"
            )
    return columns, tuple(bare)
