"""Read a `.beton`, the file format of FFCV 1.0.2, without FFCV.

Nothing in it is trusted: every count and pointer is compared with the size of the file before it is used.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from .beton_layout import (
    ALLOCATION,
    ARRAY,
    ARRAY_TYPE,
    FIELD,
    FLOAT_TYPE,
    HEADER,
    IMAGE,
    IMAGE_TYPE,
    INT_TYPE,
    JPEG,
    MAX_SIDE,
    METADATA,
    MIN_PAGE_BYTES,
    RAW,
    TENSOR_TYPE,
    VERSION,
    record,
)
from .column import Column
from .dataset import CHANNELS, DatasetFile


def open_beton(path: str, fields: Mapping[str, str] | None = None) -> DatasetFile:
    """Open a `.beton` with the fields `image` (RGB, raw or JPEG; or arrays, such as grey images) and `label` (integer).

    Args:
        path: the file.
        fields: our name of a field -> that of the file, where they differ.

    Raises:
        ValueError: the file is not a whole `.beton`; the message names what is wrong and where. Or `fields` gives two
            fields one name.
    """
    size = os.path.getsize(path)
    _require(size >= HEADER.itemsize, path, f"it has {size} bytes, the header alone takes {HEADER.itemsize}")
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    header = data[: HEADER.itemsize].view(HEADER)[0]
    metadata, metadata_end, columns = _metadata(path, data, header, dict(fields or {}))
    allocations = _allocations(path, data, header, metadata_end)
    image = metadata["image"]
    if image.dtype != IMAGE:
        return _of_arrays(path, data, metadata["label"].astype(np.int64), columns, fields)
    offsets, sizes = _locate(path, image, allocations)
    is_jpeg = image["mode"] == JPEG
    kind = "jpeg" if is_jpeg.all() else "mixed" if is_jpeg.any() else "raw"
    heights, widths = image["height"].astype(np.int64), image["width"].astype(np.int64)
    labels = metadata["label"].astype(np.int64)
    return DatasetFile(path, kind, data, offsets, sizes, heights, widths, is_jpeg, labels, columns, fields)


def _require(condition: bool, path: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{path} is not a whole .beton file: {problem}; write it again")


def _metadata(
    path: str, data: np.ndarray, header: np.void, ours: dict[str, str]
) -> tuple[np.ndarray, int, dict[str, Column]]:
    """The metadata records, a structured view [N], the offset of the first byte after them, and the further fields."""
    version, num_fields, num_samples = int(header["version"]), int(header["num_fields"]), int(header["num_samples"])
    page_size, table = int(header["page_size"]), int(header["alloc_table_ptr"])
    _require(version < 256, path, "its first two bytes are not a version of the format")
    _require(version == VERSION, path, f"its version is {version}, this reader knows version {VERSION}")
    _require(page_size >= MIN_PAGE_BYTES and page_size.bit_count() == 1, path, f"its page size is {page_size}")
    start = HEADER.itemsize + num_fields * FIELD.itemsize
    _require(start <= len(data), path, f"its {num_fields} field descriptors do not fit its {len(data)} bytes")
    fields = data[HEADER.itemsize : start].view(FIELD)
    names = [bytes(name).split(b"\0")[0].decode("ascii", "replace") for name in fields["name"]]
    types = [int(type_id) for type_id in fields["type_id"]]
    unknown = [f"{name!r} (type {kind})" for name, kind in zip(names, types, strict=True) if kind not in METADATA]
    _require(not unknown, path, f"its fields {', '.join(unknown)} are of no known type")
    for name, theirs in ours.items():
        if theirs not in names:
            raise ValueError(f"{path}: fields maps {name!r} to {theirs!r}, and the file has the fields {names[:20]}")
    image, label = ours.get("image", "image"), ours.get("label", "label")
    for name, kinds, what in ((image, (IMAGE_TYPE, ARRAY_TYPE), "an RGB image"), (label, (INT_TYPE,), "an integer")):
        found = [k for n, k in zip(names, types, strict=True) if n == name]
        _require(
            len(found) == 1 and found[0] in kinds,
            path,
            f"it needs one field {name!r} that is {what}, it has the fields {names[:20]} (fields={{'image': ..., "
            "'label': ...} says what they are called)",
        )
    # Distinct names for the record: FFCV never looks at names, two extra fields may share one.
    keys = [{image: "image", label: "label"}.get(name, f"extra{i}") for i, name in enumerate(names)]
    row = record(dict(zip(keys, types, strict=True)))
    end = start + num_samples * row.itemsize
    _require(num_samples > 0, path, "it holds no samples")
    _require(
        end <= table <= len(data),
        path,
        f"{num_samples} samples and an allocation table at byte {table} do not fit its {len(data)} bytes",
    )
    columns: dict[str, Column] = {}
    renamed, counts = {theirs: name for name, theirs in ours.items()}, Counter(names)
    assert row.fields is not None
    places = [place for _, place, *_ in row.fields.values()]  # of each field in a record
    for name, key, kind, one, place in zip(names, keys, types, fields, places, strict=True):
        if (key not in ("image", "label") or (key, kind) == ("image", ARRAY_TYPE)) and counts[name] == 1:
            starts = start + place + row.itemsize * np.arange(num_samples)
            column = _column(path, data, starts, kind, one["arguments"], (end, table))
            if column is not None:
                mine = renamed.get(name, name)
                if mine in columns:
                    raise ValueError(
                        f"{path}: fields={ours} gives two of its fields the name {mine!r}: choose another name, or "
                        f"rename its field {mine!r} too"
                    )
                columns[mine] = column
    return data[start:end].view(row), end, columns


def _of_arrays(
    path: str, data: np.ndarray, labels: np.ndarray, columns: dict[str, Column], fields: Mapping[str, str] | None
) -> DatasetFile:
    """The data set whose images are arrays uint8 [H, W, C] of one shape, as FFCV's NDArrayField stores them."""
    images, count = columns.pop("image", None), len(labels)
    shape = () if images is None or images.dtype != np.uint8 else images.shape
    if images is None or len(shape) != 3 or shape[2] not in (1, CHANNELS) or max(shape) > MAX_SIDE:
        raise ValueError(
            f"{path} cannot be read: the arrays of its field 'image' are not uint8 [H, W, 1] or [H, W, {CHANNELS}]; "
            "write it again"
        )
    heights, widths, sizes = (np.full(count, value) for value in (*shape[:2], images.num_bytes))
    is_jpeg = np.zeros(count, bool)
    return DatasetFile(
        path, "raw", data, images.starts, sizes, heights, widths, is_jpeg, labels, columns, fields, channels=shape[2]
    )


def _column(
    path: str, data: np.ndarray, starts: np.ndarray, kind: int, arguments: np.ndarray, limits: tuple[int, int]
) -> Column | None:
    """A field of numbers or of arrays; None for other kinds, and for arrays of types that no tensor has."""
    if kind in (INT_TYPE, FLOAT_TYPE):
        return Column(data, starts, METADATA[kind])
    if kind not in (ARRAY_TYPE, TENSOR_TYPE):
        return None
    header, text = arguments[: ARRAY.itemsize].view(ARRAY)[0], arguments[ARRAY.itemsize :].tobytes()
    described = text[: int(header["type_length"])].decode("ascii", "replace")
    named = re.fullmatch(r'\[\["", ?"([<|][biuf][1248])"\]\]', described)
    shape = tuple(int(size) for size in np.trim_zeros(header["shape"], "b"))
    try:
        dtype = None if named is None else np.dtype(named[1])
    except TypeError:  # such as "<b8"
        dtype = None
    if dtype is None or not math.prod(shape):
        return None
    pointers = Column(data, starts, METADATA[kind]).take(np.arange(len(starts)))
    num_bytes, (first, last) = dtype.itemsize * math.prod(shape), limits
    bad = (pointers < np.uint64(first)) | (pointers > np.uint64(max(last - num_bytes, 0)))
    _require(not bad.any(), path, f"an array of sample {bad.argmax()} lies outside its data")
    return Column(data, pointers.astype(np.int64), dtype, shape)


def _allocations(path: str, data: np.ndarray, header: np.void, start: int) -> np.ndarray:
    """The allocation table, a structured view whose entries all lie between `start` and the table."""
    table, num_samples = int(header["alloc_table_ptr"]), int(header["num_samples"])
    extra = (len(data) - table) % ALLOCATION.itemsize
    _require(extra == 0, path, f"its allocation table is cut: {extra} bytes are left over at the end")
    entries = data[table:].view(ALLOCATION)
    _require(len(entries) >= num_samples, path, f"{num_samples} samples but {len(entries)} allocations")
    ptr, size, limit = entries["ptr"], entries["size"], np.uint64(table)
    bad = (ptr < np.uint64(start)) | (ptr > limit) | (size > limit - np.minimum(ptr, limit))
    bad |= entries["sample_id"] >= num_samples
    _require(not bad.any(), path, f"allocation {bad.argmax()} of {len(bad)} points outside the data or to no sample")
    return entries


def _locate(path: str, image: np.ndarray, allocations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The offset and size in bytes of each image, int64 [N] each, from the allocations that the images point to."""
    samples, pointers = np.arange(len(image)), image["data_ptr"]
    bad = (image["mode"] != JPEG) & (image["mode"] != RAW)
    _require(not bad.any(), path, f"sample {bad.argmax()} has mode {image['mode'][bad.argmax()]}, neither JPEG nor raw")
    bad = (image["width"] == 0) | (image["height"] == 0)
    _require(not bad.any(), path, f"the image of sample {bad.argmax()} is empty")
    found = allocations[allocations["size"] > 0]
    if len(found) != len(image) or not np.array_equal(found["ptr"], pointers):
        found = found[np.argsort(found["ptr"], kind="stable")]
        _require(len(found) > 0, path, "its allocations are all empty")
        found = found[np.minimum(np.searchsorted(found["ptr"], pointers), len(found) - 1)]
    bad = (found["ptr"] != pointers) | (found["sample_id"] != samples)
    _require(not bad.any(), path, f"the image of sample {bad.argmax()} has no allocation")
    pixels = image["width"].astype(np.uint64) * image["height"] * np.uint64(CHANNELS)
    bad = (image["mode"] == RAW) & (found["size"] != pixels)
    _require(not bad.any(), path, f"the image of sample {bad.argmax()} does not have width x height x 3 bytes")
    return found["ptr"].astype(np.int64), found["size"].astype(np.int64)
