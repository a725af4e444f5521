"""All runs as a table with flat columns: results.csv and results.parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loaders.formats.atomic import atomic_path
from training.compare.outcome import Outcome

LABELS = (
    "role",
    "variant",
    "augmentation",
    "budget",
    "method",
    "seed",
    "status",
    "accuracy",
    "error",
    "cell",
)


def flat_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row for each run: its labels, then all that its summary says, parts joined by dots ("visits.cv"). Where both
    have a name, the summary's is "summary.method".

    A column that only some runs have is None in the others.
    """
    rows = [{**{name: getattr(one, name) for name in LABELS}, **_flat(one.summary)} for one in outcomes]
    columns = dict.fromkeys(LABELS) | dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows as CSV; missing values are empty."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]] if rows else [*LABELS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows as Parquet; a column of values of several types becomes text."""
    import pyarrow
    from pyarrow import parquet

    def column(name: str):
        values = [row[name] for row in rows]
        try:
            return pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            return pyarrow.array([value if value is None else str(value) for value in values])

    table = pyarrow.table({name: column(name) for name in (rows[0] if rows else LABELS)})
    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)
    return path


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            column = f"summary.{name}" if name in LABELS else name
            flat[column] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat
