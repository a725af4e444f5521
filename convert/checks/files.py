"""Compares the files of a converted data set with its manifest, and its formats with each other."""

import hashlib
from pathlib import Path

import numpy as np

from loaders.formats.dataset import DatasetFile
from loaders.formats.image_file import decode_image
from loaders.formats.manifest import FileEntry, Manifest, Split, file_entry, labels_digest
from loaders.formats.open import open_dataset

READ = (".beton", ".tar")  # files that the reader opens; an .idx is read with its .tar
_MOST = 5  # ids that a sentence names


def problem(path: Path, entry: FileEntry, split: Split, manifest: Manifest) -> str:
    """Return what is wrong with one file, "" if nothing is."""
    if not path.is_file():
        return "it is missing"
    found = file_entry(path)
    if found.num_bytes != entry.num_bytes:
        return f"it has {found.num_bytes:,} bytes, the manifest says {entry.num_bytes:,}"
    other = "" if found == entry else f"its SHA-256 is {found.sha256[:16]}..., the manifest says {entry.sha256[:16]}..."
    if path.suffix not in READ:
        return other
    try:
        num_samples, pixels, labels = contents(path, manifest)
    except (ValueError, OSError) as error:
        return f"{other}; {error}" if other else str(error)
    wrong = []
    if num_samples != split.num_samples:
        return f"it holds {num_samples:,} samples, the manifest says {split.num_samples:,}"
    if pixels != split.pixels_sha256:
        wrong.append("its images have another checksum than in the manifest")
    if labels != split.labels_sha256:
        wrong.append("its labels have another checksum than in the manifest")
    if other and not wrong:
        wrong.append("its images and labels are well, so it differs in what lies around them")
    return "; ".join([other, *wrong] if other else wrong)


def contents(path: Path, manifest: Manifest) -> tuple[int, str, str]:
    """Read a file with `loaders`; return its number of samples and the digests of images and labels as in `Split`."""
    dataset, pixels = open_dataset(path), hashlib.sha256()
    lowest, highest, num_classes = int(dataset.labels.min()), int(dataset.labels.max()), len(manifest.classes)
    if lowest < 0 or highest >= num_classes:
        bad = lowest if lowest < 0 else highest
        raise ValueError(f"it has the label {bad}, and the manifest names {num_classes:,} classes")
    for sample in range(dataset.num_samples):
        pixels.update(np.ascontiguousarray(content(dataset, sample, manifest)).data)
    return dataset.num_samples, pixels.hexdigest(), labels_digest(dataset.labels, num_classes)


def content(dataset: DatasetFile, sample: int, manifest: Manifest) -> np.ndarray:
    """What all formats hold of one sample: its pixels, uint8, where they are kept as they are, or its JPEG stream."""
    stored = dataset.bytes(sample)
    if dataset.kind != "png" or dataset.is_jpeg[sample]:
        return stored
    decoded = decode_image(stored.tobytes(), ("PNG",))
    pixels = np.asarray(decoded.rgb)
    return pixels[..., :1] if manifest.image_shape[2] == 1 and decoded.mode == "L" else pixels


def formats_of(split: Split) -> list[str]:
    """The files of a split that hold all of its samples, one of each format."""
    return sorted(name for name in split.files if Path(name).suffix in READ)


def difference(first: Path, second: Path, manifest: Manifest) -> str:
    """Compare two files of a split id by id; return in which samples they differ, "" if in none."""
    one, other = open_dataset(first), open_dataset(second)
    if one.num_samples != other.num_samples:
        return f"{first.name} holds {one.num_samples:,} samples, {second.name} {other.num_samples:,}"
    differing = [
        sample
        for sample in range(one.num_samples)
        if one.labels[sample] != other.labels[sample] or not _equal(one, other, sample, manifest)
    ]
    if not differing:
        return ""
    named = ", ".join(map(str, differing[:_MOST])) + (", ..." if len(differing) > _MOST else "")
    return f"{first.name} and {second.name} differ in {len(differing):,} samples: {named}"


def _equal(one: DatasetFile, other: DatasetFile, sample: int, manifest: Manifest) -> bool:
    mine, theirs = (content(dataset, sample, manifest).reshape(-1) for dataset in (one, other))
    return np.array_equal(mine, theirs)
