"""Read a `.beton`, the file format of FFCV 1.0.2, without FFCV.

The file is little-endian: a header, field descriptors, one metadata record per sample, pages of pixels or JPEG bytes,
and an allocation table up to the end of the file. Nothing in it is trusted: every count and pointer is compared with
the size of the file before it is used.
"""

import os

import numpy as np

from .dataset import CHANNELS, DatasetFile

# The layout of the file; integers are unsigned and little-endian, pointers count bytes from the start of the file.
HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ]
)
FIELD = np.dtype([("type_id", "u1"), ("name", "u1", 16), ("arguments", "u1", 1024)])
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
BYTES = np.dtype([("ptr", "<u8"), ("size", "<u8")])

VERSION = 2
FLOAT_TYPE, INT_TYPE, IMAGE_TYPE = 0, 1, 2
METADATA = {  # type of a field -> its part of a sample's metadata record
    FLOAT_TYPE: np.dtype("<f8"),
    INT_TYPE: np.dtype("<i8"),
    IMAGE_TYPE: IMAGE,
    3: BYTES,  # bytes
    4: np.dtype("<u8"),  # array
    5: BYTES,  # JSON
    6: np.dtype("<u8"),  # tensor
}
JPEG, RAW = 0, 1


def open_beton(path: str) -> DatasetFile:
    """Open a `.beton` with the fields `image` (RGB, raw or JPEG) and `label` (integer).

    Raises:
        ValueError: the file is not a whole `.beton`; the message names what is wrong and where.
    """
    size = os.path.getsize(path)
    _require(size >= HEADER.itemsize, path, f"it has {size} bytes, the header alone takes {HEADER.itemsize}")
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    header = data[: HEADER.itemsize].view(HEADER)[0]
    metadata, metadata_end = _metadata(path, data, header)
    allocations = _allocations(path, data, header, metadata_end)
    image = metadata["image"]
    offsets, sizes = _locate(path, image, allocations)
    is_jpeg = image["mode"] == JPEG
    kind = "jpeg" if is_jpeg.all() else "mixed" if is_jpeg.any() else "raw"
    heights, widths = image["height"].astype(np.int64), image["width"].astype(np.int64)
    labels = metadata["label"].astype(np.int64)
    return DatasetFile(path, kind, data, offsets, sizes, heights, widths, is_jpeg, labels)


def _require(condition: bool, path: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{path} is not a whole .beton file: {problem}; write it again")


def _metadata(path: str, data: np.ndarray, header: np.void) -> tuple[np.ndarray, int]:
    """The metadata records, a structured view [N], and the offset of the first byte after them."""
    version, num_fields, num_samples = int(header["version"]), int(header["num_fields"]), int(header["num_samples"])
    page_size, table = int(header["page_size"]), int(header["alloc_table_ptr"])
    _require(version == VERSION, path, f"its version is {version}, this reader knows version {VERSION}")
    _require(page_size >= 1 << 21 and page_size.bit_count() == 1, path, f"its page size is {page_size}")
    start = HEADER.itemsize + num_fields * FIELD.itemsize
    _require(start <= len(data), path, f"its {num_fields} field descriptors do not fit its {len(data)} bytes")
    fields = data[HEADER.itemsize : start].view(FIELD)
    names = [bytes(name).split(b"\0")[0].decode("ascii", "replace") for name in fields["name"]]
    types = [int(type_id) for type_id in fields["type_id"]]
    unknown = [f"{name!r} (type {kind})" for name, kind in zip(names, types, strict=True) if kind not in METADATA]
    _require(not unknown, path, f"its fields {', '.join(unknown)} are of no known type")
    for name, kind, what in (("image", IMAGE_TYPE, "an RGB image"), ("label", INT_TYPE, "an integer")):
        found = [k for n, k in zip(names, types, strict=True) if n == name]
        _require(found == [kind], path, f"it needs one field {name!r} that is {what}, it has the fields {names[:20]}")
    # Distinct names for the record: FFCV never looks at names, two extra fields may share one.
    keys = [name if name in ("image", "label") else f"extra{i}" for i, name in enumerate(names)]
    record = np.dtype([(key, METADATA[kind]) for key, kind in zip(keys, types, strict=True)], align=True)
    end = start + num_samples * record.itemsize
    _require(num_samples > 0, path, "it holds no samples")
    _require(
        end <= table <= len(data),
        path,
        f"{num_samples} samples and an allocation table at byte {table} do not fit its {len(data)} bytes",
    )
    return data[start:end].view(record), end


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
