"""What a converted folder holds: a frozen value and its form on disk, `manifest.json`, written last.

Knows names, counts and checksums; must not know how images are stored (it imports neither FFCV nor torch).
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from loaders.formats.atomic import atomic_path

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One file of a split."""

    num_bytes: int
    sha256: str  # of the whole file


@dataclass(frozen=True)
class Split:
    """One split: its size, the checksums of its content, and the files that hold it by name."""

    num_samples: int
    pixels_sha256: str  # of the C-order uint8 [N, H, W, C] array; of JPEG, of all streams one after the other
    labels_sha256: str  # see `labels_digest`
    files: dict[str, FileEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """All that is known of a converted data set.

    `mean` and `std` are per channel, over every pixel of the train split, in units of [0, 1] (255 is 1), and `std` is
    the population's. `verified` is true when the pixels or their archive matched published checksums; when false,
    `note` says why.
    """

    name: str
    image_shape: tuple[int, int, int]  # H, W, C; H and W are 0 when the images vary in size
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    verified: bool
    note: str
    splits: dict[str, Split]
    schema_version: int = SCHEMA_VERSION


def pixels_digest(images_NHWC: np.ndarray) -> str:
    """SHA-256 of the uint8 pixels in C order, as hex."""
    return hashlib.sha256(np.ascontiguousarray(images_NHWC, dtype=np.uint8).data).hexdigest()


def labels_digest(labels_N: np.ndarray, num_classes: int) -> str:
    """SHA-256 of the labels as uint8, or as little-endian int64 when there are more than 256 classes, as hex."""
    return hashlib.sha256(np.ascontiguousarray(labels_N, dtype="u1" if num_classes <= 256 else "<i8").data).hexdigest()


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file."""
    with open(path, "rb") as file:
        return FileEntry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def channel_statistics(images_NHWC: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel in units of [0, 1].

    Both come from exact integer histograms, so they do not depend on the order of summation.
    """
    channels = np.moveaxis(images_NHWC, -1, 0)
    return histogram_statistics(np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels]))


def histogram_statistics(counts_CV: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same from the number of pixels of each value, integers [C, 256]."""
    mean, std = [], []
    for counts in counts_CV.tolist():
        total = sum(counts)
        first = sum(count * value for value, count in enumerate(counts))
        second = sum(count * value * value for value, count in enumerate(counts))
        mean.append(first / total / 255)
        std.append((total * second - first * first) ** 0.5 / total / 255)
    return tuple(mean), tuple(std)


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json` by atomic rename; call it last, when every file it names is in place."""
    with atomic_path(Path(folder) / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        FileNotFoundError: there is none, so the conversion never finished.
        ValueError: it is not JSON, its schema version is another one, or a key is missing, unknown or ill-typed.
    """
    path = Path(folder) / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: convert a data set into this folder first") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): delete it and convert again") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}: convert again")
    try:
        splits = {
            name: Split(**{**split, "files": {file: FileEntry(**entry) for file, entry in split["files"].items()}})
            for name, split in values["splits"].items()
        }
        tuples = {key: tuple(values[key]) for key in ("image_shape", "classes", "mean", "std")}
        return Manifest(**{**values, **tuples, "splits": splits})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} lacks or misuses a key ({error}): delete it and convert again") from None


def missing_files(folder: str | Path, manifest: Manifest) -> tuple[str, ...]:
    """Names of the manifest's files that are absent from `folder` or have another size (a cheap check: no hashing)."""
    return tuple(
        name
        for split in manifest.splits.values()
        for name, entry in split.files.items()
        if not (Path(folder) / name).is_file() or (Path(folder) / name).stat().st_size != entry.num_bytes
    )
