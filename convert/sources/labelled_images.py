"""Finds labelled images in a folder or in WebDataset tars, and tells what it leaves out."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from convert.sources.folder.classes import note_on_order, ordered, read_class_list
from convert.sources.folder.hold_out import hold_out
from convert.sources.folder.inventory import told
from convert.sources.folder.kinds import HEAD_BYTES, IMAGE_SUFFIXES, broken_kind, image_format, why_left_out
from convert.sources.folder.labels import by_labels
from convert.sources.folder.layout import Layout, Placed, by_folders
from convert.sources.folder.names import readable
from convert.sources.folder.values import BrokenFile, File, FoundImages, LabelledImage
from convert.sources.folder.walk import walk
from convert.sources.folder.webdataset import by_members, find_tars
from loaders.formats.sentence import one_line

__all__ = ["Choices", "FoundImages", "LabelledImage", "find_images"]
THREADS = 8  # that look at the beginnings of files


@dataclass(frozen=True)
class Choices:
    """How splits and classes are found.

    Attributes:
        depth: levels of folders that make a class.
        val_as_test: whether the split val is called test.
        split: fraction of each class that is held out as the split test; 0 is none.
        seed: of that draw.
        labels: a CSV or Parquet file that names images and their labels, or None.
        image_column, label_column: its columns; not needed where it has two.
        class_list: a text file with a class name on each line, in the order of the labels, or None.
    """

    depth: int = 1
    val_as_test: bool = False
    split: float = 0.0
    seed: int = 0
    labels: Path | None = None
    image_column: str | None = None
    label_column: str | None = None
    class_list: Path | None = None


def find_images(source: Path, choices: Choices = Choices()) -> FoundImages:
    """Find the images of `source`/{train,val,test}/<class>/*, of `source`/<class>/*, or of WebDataset tars.

    In a folder the ids run through sorted classes, then sorted paths; in tars they follow the order of the members.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: it holds no images, or none that can be told apart into splits and classes; says what to do.
        ImportError, OSError: as reading the labels and folders does.
    """
    listed = read_class_list(choices.class_list) if choices.class_list else ()
    tars = find_tars(source)
    if tars:
        layout, in_order = by_members(tars, listed), False
        looked = _look([placed.file for placed in layout.placed])
        broken = [BrokenFile(_name(file), kind) for file, kind in looked.broken.items()]
    elif source.is_dir():
        layout, looked, broken = _in_folder(source, listed, choices)
        in_order = True
    else:
        raise FileNotFoundError(f"{source} does not exist: give a folder of images or a tar, or a pattern of tars")
    placed = [image for image in layout.placed if image.file not in looked.broken]
    if not placed and not broken:
        raise ValueError(
            f"{source} holds no images, needed: <class>/* in it, or train/<class>/* and test/<class>/*"
            + f" (left out: {told(looked.left_out)})" * bool(looked.left_out)
        )
    if choices.split:
        placed = hold_out(placed, choices.split, choices.seed)
    by_value = (bool(tars) or choices.labels is not None) and all(name.isdecimal() for name in layout.classes)
    classes = ordered(layout.classes, listed, by_value=by_value)
    notes = [*layout.notes, *(() if by_value else note_on_order(classes, listed)), *_notes(placed, classes, by_value)]
    label_of = {name: k for k, name in enumerate(classes)}
    if in_order:
        placed.sort(key=lambda image: label_of[image.class_name])  # stable: within a class by path
    splits: dict[str, list[LabelledImage]] = {}
    for name in ("train", "val", "test"):
        images = [image for image in placed if image.split == name]
        if images:
            splits[name] = [
                LabelledImage(_name(image.file), image.file.place.read, label_of[image.class_name]) for image in images
            ]
    if choices.val_as_test:
        splits = _val_as_test(source, splits)
    if "test" not in splits:
        if "val" in splits:
            how = "--val-as-test takes val for it, or train with --eval_split val"
        else:
            how = "--split 0.1 holds a tenth of the images out, or train with --validation 0.1"
        notes.append(f"there is no split test, on which a run is tested: {how}")
    return FoundImages(splits, classes, looked.left_out + layout.left_out, tuple(broken), tuple(notes))


@dataclass(frozen=True)
class _Looked:
    """What files are, by their first bytes.

    Attributes:
        files: those that are images or should be, in the order in which they were given.
        broken: the kind of each of them that is none.
        left_out: number of the others, by the reason why.
    """

    files: list[File]
    broken: dict[File, str]
    left_out: Counter[str]


def _in_folder(source: Path, listed: tuple[str, ...], choices: Choices) -> tuple[Layout, _Looked, list[BrokenFile]]:
    walked = walk(source)
    looked = _look(walked.files)
    looked.left_out.update(walked.left_out)
    broken = list(walked.dead)
    if choices.labels is not None:
        columns = choices.image_column, choices.label_column
        layout, missing = by_labels(looked.files, choices.labels, columns, listed)
        broken += missing
    else:
        layout = by_folders(looked.files, walked.folders, choices.depth, listed, readable(str(source)))
    broken += [
        BrokenFile(_name(image.file), looked.broken[image.file])
        for image in layout.placed
        if image.file in looked.broken
    ]
    return layout, looked, broken


def _look(files: list[File]) -> _Looked:
    """Read the beginning of each file, on several threads, since a disk answers many of them at once."""
    looked = _Looked([], {}, Counter())
    blocks = [files[start : start + 1000] for start in range(0, len(files), 1000)]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="rebar-look") as pool:
        for block, verdicts in zip(blocks, pool.map(lambda block: [*map(_verdict, block)], blocks), strict=True):
            for file, (why, kind) in zip(block, verdicts, strict=True):
                if why:
                    looked.left_out[why] += 1
                    continue
                looked.files.append(file)
                if kind:
                    looked.broken[file] = kind
    return looked


def _verdict(file: File) -> tuple[str, str]:
    """Why a file is left out, or what is wrong with it; "" and "" where it is an image."""
    suffix = _suffix(file)
    try:
        head = file.place.read(HEAD_BYTES)
    except OSError as error:
        return "", f"cannot be read ({error.strerror or error})"
    why = why_left_out(suffix, head)
    return (why, "") if why or image_format(head) else ("", broken_kind(head))


def _suffix(file: File) -> str:
    suffix = os.path.splitext(file.parts[-1])[1].lower()
    return suffix if suffix in IMAGE_SUFFIXES else one_line(readable(suffix), 20)


def _name(file: File) -> str:
    """How messages and the manifest name a file: by its path in the source."""
    parts = [readable(part) for part in file.parts]
    return f"{parts[0]}: {one_line(parts[1], 80)}" if file.place.offset else "/".join(parts)


def _notes(placed: list[Placed], classes: tuple[str, ...], by_value: bool) -> list[str]:
    """What a person should know of suffixes and labels."""
    notes, suffixes = [], (_suffix(image.file) for image in placed)
    others = Counter(suffix or "without one" for suffix in suffixes if suffix not in IMAGE_SUFFIXES)
    if others:
        notes.append(f"images by their content, whatever their suffix: {told(others)}")
    if by_value and [*classes] != [str(k) for k in range(len(classes))]:
        notes.append(f"the labels {classes[0]} to {classes[-1]} become 0 to {len(classes) - 1}, in their order")
    if len(classes) == 1:
        notes.append(f"there is one class only, {one_line(classes[0], 60)}")
    return notes


def _val_as_test(source: Path, splits: dict[str, list[LabelledImage]]) -> dict[str, list[LabelledImage]]:
    if "val" not in splits or "test" in splits:
        raise ValueError(
            f"--val-as-test needs a split val and none that is called test, and {source} has {' and '.join(splits)}"
        )
    return {"test" if split == "val" else split: images for split, images in splits.items()}
