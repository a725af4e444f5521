"""Which column of a table holds the images, which one the labels, and what its classes are called."""

import json
from dataclasses import dataclass
from typing import Any

from loaders.formats.sentence import one_line


@dataclass(frozen=True)
class Columns:
    """The two columns of a table that are converted.

    Attributes:
        image, label: their names.
        names: the name of each label, where the table says so.
    """

    image: str
    label: str
    names: tuple[str, ...] | None


def find_columns(schema: Any, image: str | None, label: str | None, where: str) -> Columns:
    """Find the image and the label column of a table.

    Args:
        schema: a `pyarrow.Schema`; what `datasets` has noted in it goes before the types.
        image, label: the names of columns, where the caller knows.
        where: the file, for messages.

    Raises:
        ValueError: there is no such column, or several could be meant.
    """
    import pyarrow as pa

    features = _features(schema)
    kinds = {field.name: _kind(features, field) for field in schema}
    found = image or _only(
        [name for name, kind in kinds.items() if kind == "Image"]
        or [field.name for field in schema if _holds_bytes(field.type)],
        ("image", "img"),
        f"{where}: which of its columns {_listed(schema)} holds the images? Say so with --image_column",
    )
    target = label or _only(
        [name for name, kind in kinds.items() if kind == "ClassLabel" and name != found]
        or [
            field.name
            for field in schema
            if field.name != found and (pa.types.is_integer(field.type) or pa.types.is_string(field.type))
        ],
        ("label", "labels"),
        f"{where}: which of its columns {_listed(schema)} holds the labels? Say so with --label_column",
    )
    for name in (found, target):
        if name not in kinds:
            raise ValueError(f"{where} has no column {name!r}, its columns are {_listed(schema)}")
    if not _holds_bytes(schema.field(found).type):
        raise ValueError(f"{where}: the column {found!r} is {schema.field(found).type}, needed: encoded images")
    names = features.get(target, {}).get("names") if isinstance(features.get(target), dict) else None
    is_named = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return Columns(found, target, tuple(names) if isinstance(names, list) and is_named else None)


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` has noted of each column; nothing where the note is missing or damaged."""
    try:
        content = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = content["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(features: dict[str, Any], field: Any) -> str:
    feature = features.get(field.name)
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _holds_bytes(kind: Any) -> bool:
    """Whether a column of this type holds image files: as bytes, or as {bytes, path}."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _only(candidates: list[str], preferred: tuple[str, ...], question: str) -> str:
    if len(candidates) != 1:
        candidates = [name for name in preferred if name in candidates][:1]
    if not candidates:
        raise ValueError(question)
    return candidates[0]


def _listed(schema: Any) -> str:
    return one_line(", ".join(schema.names))
