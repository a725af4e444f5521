"""Checks a converted folder against its manifest: `python -m convert.verify data/cifar10`; one line for each file.

Each file's size and checksum, and the images and labels that the loaders' reader finds in it. A `.beton` and a `.tar`
that both hold what the manifest states agree with each other. Knows the manifest; must not know how files are written.
"""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from convert.command import run_command
from loaders.formats.manifest import FileEntry, Split, file_entry, labels_digest, read_manifest
from loaders.formats.open import open_dataset

READ = (".beton", ".tar")  # files that the reader opens; an .idx is read with its .tar


def verify(folder: Path) -> None:
    """Print a line for each file of the manifest.

    Args:
        folder: a folder made by a script of convert/.

    Raises:
        FileNotFoundError, ValueError: there is no manifest, or a file is not what it says.
    """
    manifest, console = read_manifest(folder), Console(markup=False, highlight=False, soft_wrap=True)
    problems = {}
    for split in manifest.splits.values():
        for name, entry in split.files.items():
            problems[name] = problem(folder / name, entry, split, len(manifest.classes))
            console.print(f"BAD {name}: {problems[name]}" if problems[name] else f"ok  {name}")
    num_bad = sum(map(bool, problems.values()))
    if num_bad:
        raise ValueError(
            f"{num_bad} of {len(problems)} files are not what {folder}'s manifest says: delete it and convert again"
        )


def problem(path: Path, entry: FileEntry, split: Split, num_classes: int) -> str:
    """What is wrong with one file, "" if nothing is."""
    if not path.is_file():
        return "it is missing"
    found = file_entry(path)
    if found.num_bytes != entry.num_bytes:
        return f"it has {found.num_bytes:,} bytes, the manifest says {entry.num_bytes:,}"
    if found != entry:
        return f"its SHA-256 is {found.sha256[:16]}..., the manifest says {entry.sha256[:16]}..."
    if path.suffix not in READ:
        return ""
    try:
        num_samples, pixels, labels = contents(path, num_classes)
    except (ValueError, OSError) as error:
        return str(error)
    if num_samples != split.num_samples:
        return f"it holds {num_samples:,} samples, the manifest says {split.num_samples:,}"
    if pixels != split.pixels_sha256:
        return "its images are not those of the manifest"
    return "" if labels == split.labels_sha256 else "its labels are not those of the manifest"


def contents(path: Path, num_classes: int) -> tuple[int, str, str]:
    """Number of samples, and the digests of images and labels as `Split` defines them, read by `loaders`."""
    from PIL import Image  # only here: not every format needs it

    dataset = open_dataset(path)
    pixels = hashlib.sha256()
    for sample in range(dataset.num_samples):
        content = dataset.bytes(sample)
        if dataset.kind == "png" and not dataset.is_jpeg[sample]:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                content = np.asarray(image.convert("RGB"))
        pixels.update(np.ascontiguousarray(content))
    return dataset.num_samples, pixels.hexdigest(), labels_digest(dataset.labels, num_classes)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv.insert(1, "--folder")
    run_command(verify)
