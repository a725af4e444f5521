"""Checks a converted data set against its manifest: `python convert/verify.py data/cifar10`.

Compared are the size and checksum of each file, and the images and labels that the readers of `loaders` find in it.
So a `.beton` and a `.tar` that pass hold the same samples.
"""

import hashlib
import sys
from pathlib import Path

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from convert.command import run_command
from loaders.formats.image_file import decode_image
from loaders.formats.manifest import FileEntry, Split, file_entry, labels_digest, read_manifest
from loaders.formats.open import open_dataset

READ = (".beton", ".tar")  # files that the reader opens; an .idx is read with its .tar


def verify(folder: Path) -> None:
    """Check a converted data set against its manifest, and print a line for each file.

    Args:
        folder: a data set made by a script of convert/, such as data/cifar10.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: the manifest is damaged, or a file is not what it says.
    """
    manifest, console = read_manifest(folder), Console(markup=False, highlight=False, soft_wrap=True)
    problems: dict[str, str] = {}
    for split_name, split in manifest.splits.items():
        found = {name: file_problem(folder / name, entry) for name, entry in split.files.items()}
        for ending in READ:  # one file, or shards that hold the split together
            names = manifest.files_of(split_name, ending)
            if names and not any(found[name] for name in names):
                found[names[0]] = content_problem([folder / name for name in names], split, len(manifest.classes))
        for name, problem in found.items():
            console.print(f"BAD {name}: {problem}" if problem else f"ok  {name}")
        problems |= found
    num_bad = sum(map(bool, problems.values()))
    if num_bad:
        raise ValueError(
            f"{num_bad} of {len(problems)} files differ from the manifest of {folder}: delete it and convert again"
        )


def file_problem(path: Path, entry: FileEntry) -> str:
    """Return what is wrong with the bytes of one file, "" if nothing is."""
    if not path.is_file():
        return "it is missing"
    found = file_entry(path)
    if found.num_bytes != entry.num_bytes:
        return f"it has {found.num_bytes:,} bytes, the manifest says {entry.num_bytes:,}"
    if found != entry:
        return f"its SHA-256 is {found.sha256[:16]}..., the manifest says {entry.sha256[:16]}..."
    return ""


def content_problem(paths: list[Path], split: Split, num_classes: int) -> str:
    """Return what is wrong with the samples of a file, or of shards in their order, "" if nothing is."""
    try:
        num_samples, pixels, labels = contents(paths, num_classes)
    except (ValueError, OSError) as error:
        return str(error)
    if num_samples != split.num_samples:
        return f"it holds {num_samples:,} samples, the manifest says {split.num_samples:,}"
    if pixels != split.pixels_sha256:
        return "its images have another checksum than in the manifest"
    return "" if labels == split.labels_sha256 else "its labels have another checksum than in the manifest"


def contents(paths: list[Path], num_classes: int) -> tuple[int, str, str]:
    """Read files with `loaders`; return their number of samples and the digests of images and labels as in `Split`."""
    dataset = open_dataset(paths[0] if len(paths) == 1 else paths)
    pixels = hashlib.sha256()
    for sample in range(dataset.num_samples):
        content = dataset.bytes(sample)
        if dataset.kind == "png" and not dataset.is_jpeg[sample]:
            content = np.asarray(decode_image(content.tobytes(), ("PNG",)).rgb)
        pixels.update(np.ascontiguousarray(content).data)
    return dataset.num_samples, pixels.hexdigest(), labels_digest(dataset.labels, num_classes)


if __name__ == "__main__":
    run_command(verify, as_positional=True)
