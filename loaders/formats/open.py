"""Open a data set of either format, and refuse images that claim to be too large."""

import copyreg
import dataclasses
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .beton import open_beton
from .claims import MAX_GROWTH, MAX_PIXELS, are_too_many_pixels
from .dataset import DatasetFile
from .manifest import manifest_near
from .series import missing_in_series
from .shards import Shards, join_shards
from .tar import open_tar

AnyPath = str | os.PathLike[str]


def open_dataset(path: AnyPath | Sequence[AnyPath], fields: Mapping[str, str] | None = None) -> DatasetFile:
    """Open a `.beton` with the fields `image` (RGB, raw or JPEG) and `label` (integer), or a `.tar` with its `.idx`.

    Args:
        path: the file; a name that ends in `.tar` is a tar. Or many files that are one data set, whose ids run through
            them in order: a list of them, or a folder of shards, whose names differ by numbers alone. A file must not
            change while it is open; see `DatasetFile.check_in_place`.
        fields: our name of a field -> that of the file, for a `.beton` that others wrote, such as {"image": "img",
            "label": "target"}. Its further fields of numbers and arrays are in `DatasetFile.columns`, by their names.

    Returns:
        The data set, which holds one file descriptor and no copy of the pixels; of many files no descriptor, and each
        is mapped when it is first needed.

    Raises:
        FileNotFoundError: there is no such file, or a tar has no index.
        ValueError: the file is damaged or of another kind, or an image claims more pixels than its bytes can
            hold, or more than 178,956,970.
    """
    if not isinstance(path, str | os.PathLike):
        if not path:
            raise ValueError("the list of shards is empty: give the files of one data set in order")
        return join_shards(_open_file(os.fspath(one), fields) for one in path)
    path = os.fspath(path)
    if os.path.isdir(path):
        return join_shards(_open_file(one, fields) for one in _find_shards(path))
    return _open_file(path, fields)


def _open_file(path: str, fields: Mapping[str, str] | None) -> DatasetFile:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"no such file: {path}; the scripts of convert/ write such files, as `python convert/folder.py IMAGES`"
        )
    before = os.stat(path)
    if fields is not None and path.endswith(".tar"):
        raise ValueError(f"fields are those of a .beton, {path} has none: leave them out")
    dataset = open_tar(path) if path.endswith(".tar") else open_beton(path, fields)
    dataset = dataclasses.replace(dataset, inode=(before.st_dev, before.st_ino))
    huge = are_too_many_pixels(dataset.heights, dataset.widths, dataset.sizes)
    if huge.any():
        sample = int(huge.argmax())
        height, width, size = dataset.heights[sample], dataset.widths[sample], dataset.sizes[sample]
        raise ValueError(
            f"{path}: the image of sample {sample} claims to have {height} x {width} pixels in {size:,} bytes, at most "
            f"{MAX_PIXELS} are allowed, and {MAX_GROWTH} bytes of them for each byte: make it smaller, or write the "
            "file again"
        )
    return dataset


def _find_shards(folder: str) -> list[str]:
    """The files of a folder that are one data set, in the order of the numbers in their names.

    Raises:
        FileNotFoundError: there are none.
        ValueError: their names differ by more than numbers, or they are not those that their manifest names; without a
            manifest, that their numbers tell of.
    """
    with os.scandir(folder) as found:
        names = [one.name for one in found if one.name.endswith((".beton", ".tar")) and one.is_file()]
    if not names:
        raise FileNotFoundError(
            f"{folder} holds no .beton and no .tar: give a file, or a folder of shards such as DATA/train"
        )
    patterns = {_pattern(name) for name in names}
    if len(patterns) > 1:
        raise ValueError(
            f"{folder} holds {', '.join(sorted(patterns)[:5])}, which are not the shards of one data set: give a file, "
            "or a list of files in the order that is meant"
        )
    near = manifest_near(folder)
    if near is not None:
        manifest, prefix = near
        listed = {name for split in manifest.splits.values() for name in split.files if name.startswith(prefix)}
        listed = {name.removeprefix(prefix) for name in listed if _pattern(name.removeprefix(prefix)) in patterns}
        other = sorted(listed ^ set(names))
        if listed and other:
            lacks = "lacks" if other[0] in listed else "holds beside its shards"
            raise ValueError(f"{folder} {lacks} {other[0]}, and its manifest says otherwise: give a list of files")
        if listed:
            return _in_order(folder, names)
    missing = missing_in_series(names)
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing[:5])}{' and others' * (len(missing) > 5)}, by the numbers of its other "
            "files: get what is missing, or give a list of the files that are meant"
        )
    return _in_order(folder, names)


def _in_order(folder: str, names: list[str]) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(names, key=lambda name: (_numbers(name), name))]


def _pattern(name: str) -> str:
    return re.sub(r"[0-9]+", "#", name)


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", name)]


def _reopened(path: str | list[str], digest: int, fields: Mapping[str, str] | None) -> DatasetFile:
    """What a pickled data set becomes.

    Raises:
        FileNotFoundError, ValueError: as `open_dataset`; or the file now holds other samples than when it was pickled.
    """
    dataset = open_dataset(path, fields)
    if _digest(dataset) != digest:
        raise ValueError(f"{dataset.path} holds other samples than when it was pickled: open the new file itself")
    return dataset


def _reduced(dataset: DatasetFile) -> tuple[Callable[..., DatasetFile], tuple[object, ...]]:
    paths = list(dataset.absolute)
    return _reopened, (paths if isinstance(dataset, Shards) else paths[0], _digest(dataset), dataset.fields)


def _digest(dataset: DatasetFile) -> int:
    """Tells apart two files by where their images lie, and by their labels; no pixel is read."""
    return zlib.crc32(np.stack([dataset.offsets, dataset.sizes, dataset.labels]).data)


for _kind in (DatasetFile, Shards):
    copyreg.pickle(_kind, _reduced)  # as its path: another process, and a copy, opens the file itself
