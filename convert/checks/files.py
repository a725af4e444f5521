"""Compares the files of a converted data set with its manifest, and its formats with each other."""

import hashlib
from pathlib import Path

import numpy as np

from loaders.formats.dataset import DatasetFile
from loaders.formats.manifest import FileEntry, Manifest, Split, file_entry, labels_digest
from loaders.formats.open import open_dataset
from loaders.formats.pixels.image_file import decode_image

READ = (".beton", ".tar")  # files that the reader opens; an .idx is read with its .tar
_MOST = 5  # ids that a sentence names


def problems_of(folder: Path, manifest: Manifest, split_name: str) -> dict[str, str]:
    """What is wrong with each file of a split, "" if nothing is."""
    split = manifest.splits[split_name]
    found = {name: file_problem(folder / name, entry) for name, entry in split.files.items()}
    for names in formats_of(manifest, split_name):
        paths, first = [folder / name for name in names], names[0]
        if any(not path.is_file() or path.stat().st_size != split.files[name].num_bytes
               for name, path in zip(names, paths, strict=True)):  # fmt: skip
            continue
        wrong = content_problem(paths, split, manifest)
        if found[first] and not wrong:
            wrong = "its images and labels are well, so it differs in what lies around them"
        found[first] = "; ".join(filter(None, [found[first], wrong]))
    return found


def file_problem(path: Path, entry: FileEntry) -> str:
    """Return what is wrong with the bytes of one file, "" if nothing is."""
    if not path.is_file():
        return "it is missing"
    found = file_entry(path)
    if found.num_bytes != entry.num_bytes:
        return f"it has {found.num_bytes:,} bytes, the manifest says {entry.num_bytes:,}"
    return "" if found == entry else f"its SHA-256 is {found.sha256[:16]}..., the manifest says {entry.sha256[:16]}..."


def content_problem(paths: list[Path], split: Split, manifest: Manifest) -> str:
    """Return what is wrong with the samples of a file, or of shards in their order, "" if nothing is."""
    try:
        num_samples, pixels, labels = contents(paths, manifest)
    except (ValueError, OSError) as error:
        return str(error)
    if num_samples != split.num_samples:
        return f"it holds {num_samples:,} samples, the manifest says {split.num_samples:,}"
    wrong = []
    if pixels != split.pixels_sha256:
        wrong.append("its images have another checksum than in the manifest")
    if labels != split.labels_sha256:
        wrong.append("its labels have another checksum than in the manifest")
    return "; ".join(wrong)


def contents(paths: list[Path], manifest: Manifest) -> tuple[int, str, str]:
    """Read files with `loaders`; return their number of samples and the digests of images and labels as in `Split`."""
    dataset, pixels = open_files(paths), hashlib.sha256()
    lowest, highest, num_classes = int(dataset.labels.min()), int(dataset.labels.max()), len(manifest.classes)
    if lowest < 0 or highest >= num_classes:
        bad = lowest if lowest < 0 else highest
        raise ValueError(f"it has the label {bad}, and the manifest names {num_classes:,} classes")
    for sample in range(dataset.num_samples):
        pixels.update(np.ascontiguousarray(content(dataset, sample, manifest)).data)
    return dataset.num_samples, pixels.hexdigest(), labels_digest(dataset.labels, num_classes)


def open_files(paths: list[Path]) -> DatasetFile:
    """The data set of one file, or of shards in their order."""
    return open_dataset(paths[0] if len(paths) == 1 else paths)


def content(dataset: DatasetFile, sample: int, manifest: Manifest) -> np.ndarray:
    """What all formats hold of one sample: its pixels, uint8, where they are kept as they are, or its JPEG stream."""
    stored = dataset.bytes(sample)
    if dataset.kind != "png" or dataset.is_jpeg[sample]:
        return stored
    decoded = decode_image(stored.tobytes(), ("PNG",))
    pixels = np.asarray(decoded.rgb)
    return pixels[..., :1] if manifest.image_shape[2] == 1 and decoded.mode == "L" else pixels


def formats_of(manifest: Manifest, split: str) -> list[list[str]]:
    """The files that hold all samples of a split, one list for each format: a file, or shards in their order."""
    return [names for names in (manifest.files_of(split, ending) for ending in READ) if names]


def name_of(files: list[str]) -> str:
    """How a sentence calls a format: by its file, or as train/*.beton by its shards."""
    first = Path(files[0])
    return files[0] if len(files) == 1 else f"{first.parent}/*{first.suffix}"


def difference(first: list[Path], second: list[Path], manifest: Manifest) -> str:
    """Compare two formats of a split id by id; return in which samples they differ, "" if in none."""
    one, other = open_files(first), open_files(second)
    names = f"{first[0].name} and {second[0].name}"
    if one.num_samples != other.num_samples:
        return f"{first[0].name} holds {one.num_samples:,} samples, {second[0].name} {other.num_samples:,}"
    differing = [
        sample
        for sample in range(one.num_samples)
        if one.labels[sample] != other.labels[sample] or not _equal(one, other, sample, manifest)
    ]
    if not differing:
        return ""
    ids = ", ".join(map(str, differing[:_MOST])) + (", ..." if len(differing) > _MOST else "")
    return f"{names} differ in {len(differing):,} samples: {ids}"


def _equal(one: DatasetFile, other: DatasetFile, sample: int, manifest: Manifest) -> bool:
    mine, theirs = (content(dataset, sample, manifest).reshape(-1) for dataset in (one, other))
    return np.array_equal(mine, theirs)
