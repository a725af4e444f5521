"""The manifest of a converted folder: what the folder holds, with checksums, stored as `manifest.json`."""

import hashlib
import json
import os
import reprlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_path
from .beton_layout import MAX_SIDE
from .json_file import entries, entry, read_json
from .sentence import one_line

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"
MAX_BYTES = 1 << 24  # of a manifest; each file takes some 170


@dataclass(frozen=True)
class FileEntry:
    """Size and checksum of one file."""

    num_bytes: int
    sha256: str  # of the whole file


@dataclass(frozen=True)
class Split:
    """One split of a data set, for instance "train".

    Attributes:
        num_samples: N.
        pixels_sha256: of the C-order uint8 [N, H, W, C] array; of JPEG, of all streams one after the other.
        labels_sha256: see `labels_digest`.
        files: name -> size and checksum of each file that holds this split, or a part of it: shards lie in a folder,
            "train/part-00001-of-00016.beton".
    """

    num_samples: int
    pixels_sha256: str
    labels_sha256: str
    files: dict[str, FileEntry] = field(default_factory=dict[str, FileEntry])


@dataclass(frozen=True)
class Manifest:
    """What a converted folder holds.

    Attributes:
        name: of the data set.
        image_shape: H, W, C; H and W are 0 when the images vary in size.
        classes: name of each label.
        mean, std: per channel, over every pixel of the train split, in units of [0, 1] (255 is 1); `std` is that of the
            population.
        source: where the images came from.
        verified: whether the images or their archive matched published checksums.
        note: why they were not verified.
        splits: by name.
        inventory: what a conversion of someone's own images counted, left out and noted, for a person to read; else
            empty, and then not in the file.
        schema_version: of `manifest.json`.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    verified: bool
    note: str
    splits: dict[str, Split]
    inventory: dict[str, Any] = field(default_factory=dict[str, Any])
    schema_version: int = SCHEMA_VERSION

    def files_of(self, split: str, ending: str) -> list[str]:
        """The names of the files of a split that end so: "train.beton", else its shards in order, else none."""
        files = self.splits[split].files
        if f"{split}{ending}" in files:
            return [f"{split}{ending}"]
        return sorted(name for name in files if name.startswith(f"{split}/") and name.endswith(ending))


def pixels_digest(images_NHWC: np.ndarray) -> str:
    """Hex SHA-256 of the uint8 pixels in C order."""
    return hashlib.sha256(np.ascontiguousarray(images_NHWC, dtype=np.uint8).data).hexdigest()


def labels_digest(labels_N: np.ndarray, num_classes: int) -> str:
    """Hex SHA-256 of the labels as uint8, or as little-endian int64 when there are more than 256 classes."""
    return hashlib.sha256(np.ascontiguousarray(labels_N, dtype="u1" if num_classes <= 256 else "<i8").data).hexdigest()


def file_entry(path: Path) -> FileEntry:
    """Read a file for its size and SHA-256."""
    with open(path, "rb") as file:
        return FileEntry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def channel_statistics(images_NHWC: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel of uint8 images, in units of [0, 1] (255 is 1).

    Both are made from integer histograms, so they do not depend on the order of summation.
    """
    counts_CV = np.zeros((images_NHWC.shape[-1], 256), np.int64)
    for start in range(0, len(images_NHWC), 1000):  # a count needs eight bytes for each pixel
        for counts, channel in zip(counts_CV, np.moveaxis(images_NHWC[start : start + 1000], -1, 0), strict=True):
            counts += np.bincount(channel.ravel(), minlength=256)
    return histogram_statistics(counts_CV)


def histogram_statistics(counts_CV: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, in units of [0, 1], from a histogram.

    Args:
        counts_CV: integers [C, 256], the number of pixels of each value.
    """
    mean: list[float] = []
    std: list[float] = []
    for counts in counts_CV.tolist():
        total = sum(counts)
        first = sum(count * value for value, count in enumerate(counts))
        second = sum(count * value * value for value, count in enumerate(counts))
        mean.append(first / total / 255)
        std.append((total * second - first * first) ** 0.5 / total / 255)
    return tuple(mean), tuple(std)


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json`, atomically. Call it last, when every file that it names is in place.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_path(Path(folder) / FILE_NAME) as temporary:
        values = asdict(manifest)
        if not manifest.inventory:
            del values["inventory"]
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        FileNotFoundError: there is none, so the conversion never finished.
        ValueError: it is not JSON, has another schema version, lacks, misspells or misuses a key, or names a file that
            lies elsewhere.
    """
    path = Path(folder) / FILE_NAME
    try:
        values = read_json(path, MAX_BYTES)
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(f"{path} has schema version {reprlib.repr(version)}, this code reads {SCHEMA_VERSION}")
        return _manifest(values, str(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: convert a data set into this folder first") from None
    except ValueError as error:
        raise ValueError(f"{error}: delete it and convert again") from None


def manifest_near(folder: str) -> tuple[Manifest, str] | None:
    """The manifest of a folder, or that beside it where it is a folder of shards; None where there is neither.

    Returns:
        the manifest, and what its names of files in the folder begin with.

    Raises:
        ValueError: as `read_manifest`.
    """
    above, name = os.path.split(os.path.abspath(folder))
    for place, prefix in ((folder, ""), (above, f"{name}/")):
        if os.path.isfile(os.path.join(place, FILE_NAME)):
            return read_manifest(place), prefix
    return None


def is_plain_name(name: str) -> bool:
    """Whether a name that was read from a file stays in its folder when it is joined to that folder's path."""
    is_plain = name == os.path.basename(name) and name not in ("", ".", "..")
    return is_plain and name.isprintable() and len(name.encode()) <= 255


def _manifest(values: dict[str, Any], path: str) -> Manifest:
    _check_keys(values, Manifest, path)
    mean, std = entries(values, "mean", float, path), entries(values, "std", float, path)
    shape = entries(values, "image_shape", int, path)
    if len(shape) != 3 or min(shape) < 0 or max(shape) > MAX_SIDE or not len(mean) == len(std) == shape[2]:
        raise ValueError(
            f"{path}: image_shape is {reprlib.repr([*shape])} with {len(mean)} values of mean and {len(std)} of std, "
            f"needed: [H, W, C], each at most {MAX_SIDE}, and C values of each"
        )
    splits = entry(values, "splits", dict, path)
    return Manifest(
        name=entry(values, "name", str, path),
        image_shape=(shape[0], shape[1], shape[2]),
        classes=entries(values, "classes", str, path),
        mean=mean,
        std=std,
        source=entry(values, "source", str, path),
        inventory=entry(values, "inventory", dict, path) if "inventory" in values else {},
        verified=entry(values, "verified", bool, path),
        note=entry(values, "note", str, path),
        splits={name: _split(split, name, f"{path}: {one_line(name, 80)}") for name, split in splits.items()},
    )


def _split(values: Any, split: str, where: str) -> Split:
    files: dict[str, FileEntry] = {}
    for name, file in entry(values, "files", dict, where).items():
        if not is_plain_name(name.removeprefix(f"{split}/") if is_plain_name(split) else name):
            raise ValueError(
                f"{where} names the file {reprlib.repr(name)}, allowed is the plain name of a file beside it, or in "
                "the folder of its split"
            )
        of_file = f"{where}: {one_line(name, 80)}"
        files[name] = FileEntry(entry(file, "num_bytes", int, of_file), entry(file, "sha256", str, of_file))
        _check_keys(file, FileEntry, of_file)
    _check_keys(values, Split, where)
    num_samples = entry(values, "num_samples", int, where)
    if num_samples < 1:
        raise ValueError(f"{where}: num_samples is {num_samples}, needed: 1 or more")
    return Split(
        num_samples, entry(values, "pixels_sha256", str, where), entry(values, "labels_sha256", str, where), files
    )


def _check_keys(values: dict[str, Any], kind: type, where: str) -> None:
    unknown = values.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"{where} has the unknown key {reprlib.repr(min(unknown))}")


def missing_files(folder: str | Path, manifest: Manifest) -> tuple[str, ...]:
    """Names of the manifest's files that are absent from `folder` or have another size; nothing is hashed."""
    return tuple(
        name
        for split in manifest.splits.values()
        for name, entry in split.files.items()
        if not (Path(folder) / name).is_file() or (Path(folder) / name).stat().st_size != entry.num_bytes
    )
