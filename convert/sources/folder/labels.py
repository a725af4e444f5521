"""Which class each image belongs to, by a file of labels."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from convert.sources.folder.classes import few
from convert.sources.folder.layout import Layout, Placed
from convert.sources.folder.names import readable, split_of
from convert.sources.folder.tables import read_pairs
from convert.sources.folder.values import BrokenFile, File

NOT_THERE = "named in the labels and not there"


def by_labels(
    images: list[File], path: Path, columns: tuple[str | None, str | None], listed: tuple[str, ...]
) -> tuple[Layout, list[BrokenFile]]:
    """Take the images that a file of labels names, each with its label as its class; others are left out.

    A row names an image by its path in the source, or by its file name, each with or without its suffix. Where the
    path begins with a folder of a split, the image belongs to that.

    Args:
        images: files that are images, or should be.
        path: a CSV or Parquet file.
        columns: names of the columns of images and labels, where there are more than two.
        listed: names of classes; labels that are integers are their numbers, from 0.

    Returns:
        The layout, and the rows that name images which are not there.

    Raises:
        ValueError, ImportError, OSError: as `read_pairs`; or an image is named with two labels, or a row fits several.
    """
    find = _finder(images)
    pairs = read_pairs(path, *columns, is_image=lambda name: find(name) is not None)
    layout, missing, label_of, empty = Layout(), list[BrokenFile](), dict[int, str](), set[int]()
    for name, label in pairs:
        found = find(name)
        if found is None:
            missing.append(BrokenFile(readable(name), NOT_THERE))
        elif not label or label.lower() == "nan":
            empty.add(found)
        elif label_of.setdefault(found, label) != label:
            where = readable("/".join(images[found].parts))
            raise ValueError(f"{path} gives {where} the labels {label_of[found]} and {label}: keep one of the rows")
    names = _class_names(sorted(set(label_of.values())), path, listed)
    layout.left_out["without a label in its row"] += len(empty - label_of.keys())
    layout.left_out[f"without a row in {path.name}"] += len(images) - len(empty | label_of.keys())
    for i, image in enumerate(images):
        if i in label_of:
            split = split_of(image.parts[0]) if len(image.parts) > 1 else ""
            layout.placed.append(Placed(image, split or "train", names[label_of[i]]))
    layout.classes = set(names.values())
    return layout, missing


def _class_names(labels: list[str], path: Path, listed: tuple[str, ...]) -> dict[str, str]:
    """The class of each label. Numbers such as 3.0, which come from columns with gaps, are integers."""
    whole = {label: str(int(float(label))) for label in labels if re.fullmatch(r"\d{1,9}(\.0+)?", label)}
    if len(whole) < len(labels):
        return {label: readable(label) for label in labels}
    if not listed or set(whole.values()) <= set(listed):
        return whole
    beyond = [number for number in whole.values() if int(number) >= len(listed)]
    if beyond:
        raise ValueError(f"{path} has the labels {few(beyond)}, and the class list names 0 to {len(listed) - 1} only")
    return {label: listed[int(number)] for label, number in whole.items()}


def _finder(images: list[File]) -> Callable[[str], int | None]:
    """A function that finds the image which a row names; None where there is none.

    The shorter of the two paths is the end of the longer one, and the row may leave the suffix out.
    """
    paths = [tuple(map(readable, image.parts)) for image in images]
    by_name = defaultdict[str, set[int]](set)
    for i, path in enumerate(paths):
        by_name[path[-1]].add(i)
        by_name[PurePosixPath(path[-1]).stem].add(i)

    def fits(path: tuple[str, ...], above: tuple[str, ...]) -> bool:
        num = min(len(path) - 1, len(above))
        return path[:-1][len(path) - 1 - num :] == above[len(above) - num :]

    def find(name: str) -> int | None:
        *above, last = PurePosixPath(readable(name).replace("\\", "/")).parts or ("",)
        found = [i for i in sorted(by_name.get(last, ())) if fits(paths[i], tuple(above))]
        exact = [i for i in found if paths[i] in ((*above, last), (*above, paths[i][-1]))]
        whole = [i for i in exact if paths[i][-1] == last]
        found = whole or exact or found
        if len(found) > 1:
            several = few("/".join(paths[i]) for i in found)
            raise ValueError(f"the labels name {name}, which may be any of {several}: name it by its whole path")
        return found[0] if found else None

    return find
