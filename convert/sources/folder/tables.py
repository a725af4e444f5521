"""Reads two columns of a CSV or Parquet file as text."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from loaders.formats.claims import read_limited
from loaders.formats.sentence import one_line

MAX_BYTES = 1 << 30
PARQUET = (".parquet", ".pq")


def read_pairs(
    path: Path, image_column: str | None, label_column: str | None, is_image: Callable[[str], bool]
) -> list[tuple[str, str]]:
    """Read the name of an image and its label from each row.

    A text file may be separated by commas, semicolons or tabs, and be UTF-8 or Latin-1. Its first row names the
    columns, unless an image is named there already.

    Args:
        path: a `.parquet` or `.pq` file, or a text file.
        image_column, label_column: names of the columns; not needed where there are two of them, the image first.
        is_image: whether there is an image of this name.

    Raises:
        ValueError: there is no such column, a row is too short, or the file is not of its kind.
        ImportError: it is Parquet, and pyarrow is not installed.
        OSError: it cannot be read.
    """
    if path.suffix.lower() in PARQUET:
        names, rows = _read_parquet(path)
    else:
        names, rows = _read_text(path)
        if image_column is None and names and is_image(names[0]):
            rows, names = [names, *rows], [f"column {k + 1}" for k in range(len(names))]
    columns = []
    for option, name, k in (("image", image_column, 0), ("label", label_column, 1)):
        if name is None and len(names) != 2:
            raise ValueError(f"{path} has the columns {_few(names)}: say which one with --{option}-column")
        if name is not None and name not in names:
            raise ValueError(f"{path} has no column {name!r}: --{option}-column is one of {_few(names)}")
        columns.append(k if name is None else names.index(name))
    pairs = []
    for number, row in enumerate(rows, 1):
        if max(columns) >= len(row):
            raise ValueError(f"{path}: row {number:,} has {len(row)} columns, and not {len(names)}: repair it")
        pairs.append((row[columns[0]].strip(), row[columns[1]].strip()))
    return pairs


def _read_text(path: Path) -> tuple[list[str], list[list[str]]]:
    content = read_limited(path, MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first = text[: text.find("\n") + 1 or len(text)]
    separator = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(row)]
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as CSV ({one_line(error)}): repair it") from None
    if not rows:
        raise ValueError(f"{path} is empty: needed are rows of an image and its label")
    return [name.strip() for name in rows[0]], rows[1:]


def _read_parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ImportError(
            f"reading {path.name} needs pyarrow, which is not installed: pip install pyarrow, or save the labels as CSV"
        ) from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system
        raise ValueError(f"{path} is not a whole Parquet file ({one_line(error)})") from None
    columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _few(names: list[str]) -> str:
    return ", ".join(one_line(name, 40) for name in names[:12]) + ", ..." * (len(names) > 12)
