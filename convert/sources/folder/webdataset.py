"""Finds the samples of WebDataset tars, by the library's own rules for keys."""

import glob
import re
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from convert.sources.folder.classes import few
from convert.sources.folder.kinds import HEAD_BYTES, IMAGE_SUFFIXES, image_format
from convert.sources.folder.layout import Layout, Placed
from convert.sources.folder.names import is_skipped, readable, split_of, why_skipped
from convert.sources.folder.values import File, Place
from convert.sources.tar_file import list_members
from loaders.formats.sentence import one_line
from loaders.formats.series import missing_in_series

MAX_DIGITS = 6  # of a label


@dataclass
class _Sample:
    """The members of one key."""

    images: list[tarfile.TarInfo] = field(default_factory=list[tarfile.TarInfo])
    label: tarfile.TarInfo | None = None
    dotted: tarfile.TarInfo | None = None  # one whose name has a further dot before an image's ending
    others: list[str] = field(default_factory=list[str])


def find_tars(source: Path) -> list[Path]:
    """The tars that a path means, sorted: one tar, a pattern such as `train-*.tar` or `train-{000..009}.tar`, or the
    tars of a folder that holds nothing else; empty where it means none.

    Raises:
        FileNotFoundError: some of the numbers in `{000..009}` have no tar, and others have one.
        ValueError: the path is one image.
    """
    if source.is_dir():
        names = [path for path in sorted(source.iterdir()) if not is_skipped(path.name)]
        tars = [path for path in names if path.suffix == ".tar" and path.is_file()]
        others = {path.suffix for path in names} - {".tar", ".idx", ".json", ".txt", ".md", ".yaml"}
        return [] if others or any(path.is_dir() for path in names) else tars
    if source.is_file():
        with open(source, "rb") as file:
            if image_format(file.read(HEAD_BYTES)):
                raise ValueError(f"{source} is one image: give the folder that holds the folders of classes")
        return [source]
    found = {pattern: glob.glob(pattern) for pattern in _expanded(str(source))}
    missing = [pattern for pattern, paths in found.items() if not paths]
    if 0 < len(missing) < len(found):
        names = few(Path(path).name for path in missing)
        raise FileNotFoundError(
            f"{len(missing)} of the {len(found)} tars of {source} are missing: {names}: get them, or give the numbers "
            "that are there"
        )
    return sorted({Path(path) for paths in found.values() for path in paths})


def by_members(tars: list[Path], listed: tuple[str, ...]) -> Layout:
    """Take the samples of WebDataset tars.

    The members of a sample have the same key: their path up to the first dot of the file name. Its image is the member
    whose ending is that of an image, its label the digits of `.cls`. A tar whose name begins as that of a split does
    belongs to it. The same key in two tars means two samples.

    Args:
        tars: the files, in the order of the sample ids.
        listed: class names; label k is the k-th. Without them classes are named 0, 1, ... .

    Raises:
        ValueError: a tar is damaged, a sample has no label or two images, a member is there twice, or its name has a
            dot too many.
        OSError: a tar cannot be read.
    """
    layout, labels = Layout(), list[int]()
    splits = [_split_of_tar(path) for path in tars]
    for path, split in zip(tars, splits, strict=True):
        for key, sample in _samples(path, layout).items():
            if not sample.images:
                layout.left_out["samples without an image"] += 1
                continue
            labels.append(_label(path, key, sample.label))
            image = sample.images[0]
            place = Place(str(path), image.offset_data, image.size)
            layout.placed.append(Placed(File((path.name, image.name), place), split or "train", ""))
    if not layout.placed:
        raise ValueError(
            f"{few(map(str, tars))} holds no images, needed: members such as 0001.jpg and 0001.cls (a tar of class "
            "folders is to be unpacked first)"
        )
    if listed and max(labels) >= len(listed):
        raise ValueError(f"a label is {max(labels)}, and the class list names 0 to {len(listed) - 1} only")
    names = listed or tuple(map(str, range(1 + max(labels))))
    layout.placed = [
        placed._replace(class_name=names[label]) for placed, label in zip(layout.placed, labels, strict=True)
    ]
    layout.classes = set(names)
    if len(tars) > 1:
        counts = Counter(split or "train" for split in splits)
        told = ", ".join(f"{count} of {split}" for split, count in counts.items())
        layout.notes.append(f"{len(tars)} tars are read in the order of their names: {told}")
    missing = missing_in_series(path.name for path in tars)
    if missing:
        layout.notes.append(f"missing, by the numbers of the other tars: {few(missing)}")
    return layout


def _samples(path: Path, layout: Layout) -> dict[str, _Sample]:
    """The samples of one tar by key; counts what is left out."""
    samples: dict[str, _Sample] = {}
    seen: set[str] = set()
    for member in list_members(path):
        name = member.name.replace("\\", "/")
        *folders, file = name.split("/")
        skipped = next((part for part in (*folders, file) if is_skipped(part) and part != "."), None)
        if skipped is not None:
            layout.left_out[why_skipped(skipped)] += 1
            continue
        stem, dot, ending = file.partition(".")
        if not dot:
            layout.left_out["without a suffix"] += 1
            continue
        key, ending = "/".join((*folders, stem)), ending.lower()
        if f"{key}.{ending}" in seen:
            raise ValueError(f"{path} holds the member {one_line(name, 80)} twice: keep one")
        seen.add(f"{key}.{ending}")
        sample = samples.setdefault(key, _Sample())
        if f".{ending}" in IMAGE_SUFFIXES:
            sample.images.append(member)
        elif ending == "cls":
            sample.label = member
        else:
            sample.others.append(ending)
            if "." in ending and f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES:
                sample.dotted = member
    _check(path, samples)
    others = Counter(ending for sample in samples.values() if sample.images for ending in sample.others)
    for ending, count in others.items():
        layout.left_out[f".{one_line(ending, 20)} beside images"] += count
    return samples


def _check(path: Path, samples: dict[str, _Sample]) -> None:
    """Refuse names from which webdataset would read other keys than their author meant."""
    dotted = [sample.dotted.name for sample in samples.values() if sample.dotted is not None and not sample.images]
    if dotted:
        stem, _, ending = dotted[0].rpartition("/")[2].partition(".")
        raise ValueError(
            f"{path}: {len(dotted)} samples have a dot too many in their names ({one_line(dotted[0], 80)}): webdataset "
            f"takes what precedes the first dot for the key ({one_line(stem, 40)}) and the rest for the ending "
            f"({one_line(ending, 40)}), so rename them without it"
        )
    several = [key for key, sample in samples.items() if len(sample.images) > 1]
    if several:
        images = " and ".join(one_line(image.name, 60) for image in samples[several[0]].images[:3])
        raise ValueError(f"{path}: the sample {one_line(several[0], 80)} has several images, {images}: keep one")


def _label(path: Path, key: str, member: tarfile.TarInfo | None) -> int:
    text = b""
    if member is not None and member.size <= 64:
        text = Place(str(path), member.offset_data, member.size).read().strip()
    if not text.isdigit() or len(text) > MAX_DIGITS:
        key = one_line(key, 80)
        raise ValueError(
            f"{path}: the sample {key} has no label, needed: a member {key}.cls with the number of its class, at most "
            "six digits (a tar of class folders is to be unpacked first)"
        )
    return int(text)


def _split_of_tar(path: Path) -> str:
    """The split whose name the file's begins with, as in train-0001.tar; "" if there is none."""
    return split_of(re.split(r"[^A-Za-z]", readable(path.name))[0])


def _expanded(pattern: str) -> list[str]:
    """A pattern with `{000..009}` as one for each number."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    return [
        whole
        for number in numbers
        for whole in _expanded(f"{pattern[: found.start()]}{number:0{len(first)}d}{pattern[found.end() :]}")
    ]
