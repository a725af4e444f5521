"""Which split and which class each image belongs to, by the folders that it lies in."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from convert.sources.folder.names import SPLIT_NAMES, readable, split_of
from convert.sources.folder.values import File
from loaders.formats.sentence import one_line


class Placed(NamedTuple):
    """An image with its split and the name of its class."""

    file: File
    split: str
    class_name: str


@dataclass
class Layout:
    """Images with their splits and classes.

    Attributes:
        placed: in the order of their paths.
        classes: the names of all classes, those of folders without an image included.
        left_out: number of images by the reason why.
        notes: what a person should know of how they were taken; a sentence each.
    """

    placed: list[Placed] = field(default_factory=list[Placed])
    classes: set[str] = field(default_factory=set[str])
    left_out: Counter[str] = field(default_factory=Counter[str])
    notes: list[str] = field(default_factory=list[str])


def by_folders(
    images: list[File], folders: list[tuple[str, ...]], depth: int, listed: tuple[str, ...], source: str
) -> Layout:
    """Take the images of `train/<class>/*`, `val/<class>/*` and `test/<class>/*`, or of `<class>/*`.

    Args:
        images: files that are images, or should be.
        folders: paths of all folders.
        depth: levels of folders that make a class; what lies further down belongs to the class above it.
        listed: names of classes that are known; a folder of such a name is no split.
        source: the folder, for messages.

    Raises:
        ValueError: there are no class folders, or names of splits stand where they cannot be meant.
    """
    tops = {path[0] for path in (*folders, *(image.parts for image in images if len(image.parts) > 1))}
    splits = {name: split_of(name) for name in sorted(tops) if split_of(name) and readable(name) not in listed}
    _check_splits(splits, images, source)
    level = 1 if splits else 0
    layout, inner = Layout(), defaultdict[str, set[str]](set)
    for image in images:
        *above, _ = image.parts
        if splits and not (above and above[0] in splits):
            place = f"in {one_line(readable(above[0]), 40)}, " if above else ""
            layout.left_out[f"{place}beside the folders of splits"] += 1
        elif len(above) < level + depth:
            layout.left_out["above the class folders"] += 1
        else:
            _check_no_split(above[level:], listed, source, above)
            name = _class_name(above[level : level + depth])
            layout.placed.append(Placed(image, splits[above[0]] if splits else "train", name))
            inner[name].add(readable(above[level + depth]) if len(above) > level + depth else "")
    if not layout.placed and images:
        raise ValueError(
            f"{source} holds {len(images):,} images and no class folders{f' {depth} levels deep' * (depth > 1)}: sort "
            "them into <class>/*, or give their labels with --labels FILE"
        )
    for name, split in splits.items():
        if images and not any(placed.split == split for placed in layout.placed):
            raise ValueError(f"{source}/{name} holds no images, needed: {name}/<class>/* in it")
    for folder in folders:
        if len(folder) == level + depth and (not splits or folder[0] in splits):
            layout.classes.add(_class_name(folder[level:]))
    layout.notes += _notes_on_depth(inner, depth)
    return layout


def _class_name(parts: Iterable[str]) -> str:
    return "/".join(map(readable, parts))


def _check_splits(splits: dict[str, str], images: list[File], source: str) -> None:
    """Refuse two folders of one split, no training set, and split folders without class folders."""
    for split in set(splits.values()):
        names = [name for name, of in splits.items() if of == split]
        if len(names) > 1:
            raise ValueError(f"{source} has the folders {' and '.join(names)}, which both name one split: keep one")
    if splits and "train" not in splits.values():
        raise ValueError(
            f"{source} has {' and '.join(splits)} but no train folder, and the train split is needed: the folders of "
            f"splits are named {SPLIT_NAMES}"
        )
    for name in splits:
        above = [image.parts[1:-1] for image in images if image.parts[0] == name]
        if above and not any(above):
            others = sorted({image.parts[0] for image in images if len(image.parts) > 1} - splits.keys())
            other = f"; if {name} is a class, as {readable(others[0])} is" if others else ""
            hint = f"{other}, name both in --class-list FILE" if others else ""
            raise ValueError(
                f"{source}/{name} holds images and no class folders: sort them into {name}/<class>/*, or give their "
                f"labels with --labels FILE{hint}"
            )


def _check_no_split(inner: list[str], listed: tuple[str, ...], source: str, above: list[str]) -> None:
    """Refuse a split folder within another folder: its images would join the training set."""
    for place, name in enumerate(inner):
        if split_of(name) and readable(name) not in listed:
            outer = "/".join([source, *map(readable, above[: len(above) - len(inner) + place])])
            raise ValueError(
                f"{outer} holds the folder {name}, which names a split: give {outer} where it is one data set, or move "
                f"the folder up, to {source}/{name}/<class>"
            )


def _notes_on_depth(inner: dict[str, set[str]], depth: int) -> list[str]:
    """A sentence where classes take the images of several folders within them, in place of images of their own."""
    deep = {name: sorted(folders) for name, folders in sorted(inner.items()) if len(folders) > 1 and "" not in folders}
    if not deep:
        return []
    name, folders = next(iter(deep.items()))
    few = ", ".join(folders[:3]) + ", ..." * (len(folders) > 3)
    return [
        f"images of {len(deep)} of {len(inner)} classes lie in folders within them ({name}: {few}): --depth "
        f"{depth + 1} makes each of these a class"
    ]
