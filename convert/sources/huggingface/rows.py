"""Reads labels and encoded images from Arrow and Parquet files, a hundred rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convert.sources.huggingface.columns import Columns
from loaders.formats.sentence import one_line

_ROWS = 100  # read at once
MISSING = "reading Parquet and Arrow needs pyarrow ({reason}): pip install pyarrow"


def read_schema(path: Path) -> Any:
    """The `pyarrow.Schema` of a file.

    Raises:
        ValueError: it is damaged.
        ImportError: pyarrow is not installed.
    """
    arrow, parquet = _libraries()
    with _errors(path):
        schema = parquet.read_schema(path) if path.suffix == ".parquet" else _opened(arrow, path).schema
        _ = schema.names  # those that are no UTF-8 raise here
        return schema


def read_labels(path: Path, columns: Columns) -> list[Any]:
    """The label of each row of a file, as it is there.

    Raises:
        ValueError, ImportError: as `read_schema`.
    """
    return [value for batch in _batches(path, [columns.label]) for value in batch.column(columns.label).to_pylist()]


def read_images(path: Path, columns: Columns) -> Iterator[bytes]:
    """The image file of each row of a file.

    Raises:
        ValueError, ImportError: as `read_schema`; or a row holds no image.
    """
    row = 0
    for batch in _batches(path, [columns.image]):
        for value in batch.column(columns.image).to_pylist():
            content = value.get("bytes") if isinstance(value, dict) else value
            if not content:
                outside = value.get("path") if isinstance(value, dict) else None
                told = f"only the path {one_line(outside, 80)}" if outside else "nothing"
                raise ValueError(f"{path}: row {row} holds {told} where an image should be: save it with its images")
            yield content
            row += 1


def numbered(
    values: dict[str, list[Any]], names: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels as int64 [N] by split, -1 where there is none, and the name of each class.

    Args:
        values: labels by split: integers, or strings, which are numbered in sorted order.
        names: of the classes, where they are known.

    Raises:
        ValueError: labels of several kinds, or integers out of range.
    """
    flat = {value for split in values.values() for value in split if value is not None}
    if all(isinstance(value, str) for value in flat):
        names = names or tuple(sorted(flat))
        positions = {name: label for label, name in enumerate(names)}
        unknown = sorted(flat - positions.keys())
        if unknown:
            raise ValueError(f"the label {one_line(repr(unknown[0]), 80)} is none of the classes {one_line(names)}")
        labels = {split: [positions.get(value, -1) for value in content] for split, content in values.items()}
    elif all(type(value) is int for value in flat):
        highest = max(flat)
        if min(flat) < -1 or highest >= (len(names) if names else 1_000_000):
            raise ValueError(
                f"labels are {min(flat)} to {highest}, allowed: 0 to {len(names) - 1 if names else 999_999}"
            )
        names = names or tuple(map(str, range(highest + 1)))
        labels = {split: [-1 if value is None else value for value in content] for split, content in values.items()}
    else:
        raise ValueError("labels are neither all integers nor all strings: choose another --label_column")
    return {split: np.array(content, np.int64) for split, content in labels.items()}, names


def _libraries() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(MISSING.format(reason=error)) from error
    return pyarrow, pyarrow.parquet


def _opened(arrow: Any, path: Path) -> Any:
    """A reader of an Arrow file, a stream as `datasets` writes it or a file with an index."""
    source = arrow.memory_map(str(path))
    try:
        return arrow.ipc.open_stream(source)
    except arrow.ArrowInvalid:
        return arrow.ipc.open_file(source)


def _batches(path: Path, names: list[str]) -> Iterator[Any]:
    arrow, parquet = _libraries()
    with _errors(path):
        if path.suffix == ".parquet":
            yield from parquet.ParquetFile(path).iter_batches(_ROWS, columns=names)
            return
        reader = _opened(arrow, path)
        if hasattr(reader, "num_record_batches"):
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = iter(reader)
        for batch in batches:
            batch.validate(full=True)  # Arrow believes the offsets of strings and lists
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS).select(names)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into one sentence."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path} does not exist: save the data set again") from None
        raise ValueError(f"{path} cannot be read ({one_line(error)}): get it again") from None
