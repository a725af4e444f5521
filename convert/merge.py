"""Makes one data set of the parts that `convert/folder.py --part` has written: `python -m convert.merge data/mine`.

All parts must be there, of the same images converted in the same way. Every byte is read once more and compared with
the manifest of its part. Then the files move to ROOT/train/part-00003-of-00016.beton and so on, the joined manifest is
written, and the folders of the parts go. A merge that was killed goes on when it is called again.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from convert.checks.files import file_problem
from convert.command import run_command
from convert.sources.folder.records import join_records
from convert.sources.part import Part
from convert.terminal import print_summary, progress_bar
from convert.writers.part_file import PartStamp, read_part_file
from loaders.formats.atomic import sync_folder
from loaders.formats.lock import lock_folder
from loaders.formats.manifest import (
    FILE_NAME,
    FileEntry,
    Manifest,
    Split,
    histogram_statistics,
    labels_digest,
    missing_files,
    read_manifest,
    write_manifest,
)
from loaders.formats.open import open_dataset


class Piece(NamedTuple):
    """A part as it was found.

    Attributes:
        folder: of the part.
        manifest: what it holds.
        stamp: which part it is.
        histogram: int64 [3, 256], of its train split.
    """

    folder: Path
    manifest: Manifest
    stamp: PartStamp
    histogram: np.ndarray


def merge(root: Path) -> None:
    """Make one data set of the parts in ROOT, checked byte for byte; then `make_loader("ROOT/train", ...)` reads it.

    Args:
        root: the folder that was given to `convert/folder.py --part`; its name becomes the name of the data set.

    Raises:
        FileNotFoundError: there are no parts, or some are missing.
        ValueError: parts are of different images or settings, or damaged; or ROOT holds another data set.
        BlockingIOError: another process writes to the folder.
        OSError: a file cannot be moved.
    """
    console = Console(markup=False)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist: give the --root of `convert/folder.py --part`")
    with lock_folder(root):
        folders = sorted(folder for folder in root.glob("part-?????-of-?????") if folder.is_dir())
        there = read_manifest(root) if (root / FILE_NAME).exists() else None
        if there is not None and not missing_files(root, there) and not any(map(_holds_data, folders)):
            for folder in folders:  # an earlier call was killed while it did so
                shutil.rmtree(folder)
            console.print(f"{root} is already there (from {there.source})", soft_wrap=True)
            return
        pieces = find_pieces(root, folders)
        manifest = join(root, pieces, console)
        if there is not None and there != manifest:
            raise ValueError(f"{root} holds a data set already, beside parts of another: delete {root / FILE_NAME}")
        put_in_place(root, pieces)
        write_manifest(root, manifest)
        for piece in pieces:
            shutil.rmtree(piece.folder)
    print_summary(root, manifest, console)


def find_pieces(root: Path, folders: list[Path]) -> list[Piece]:
    """The parts in their order, all there and all of one kind.

    Raises:
        FileNotFoundError, ValueError: as in `merge`.
    """
    if not folders:
        raise FileNotFoundError(
            f"{root} holds no parts: make them with `convert/folder.py IMAGES --root {root} --part 1/16`"
        )
    unfinished = [folder.name for folder in folders if not (folder / FILE_NAME).exists()]
    if unfinished:
        raise FileNotFoundError(f"{root}: not finished are {_few(unfinished)}: wait for them, or convert them again")
    pieces = [Piece(folder, read_manifest(folder), *read_part_file(folder)) for folder in folders]
    first = pieces[0]
    for piece in pieces:
        if Part(piece.stamp.number, piece.stamp.of).name != piece.folder.name:
            raise ValueError(
                f"{piece.folder} holds part {piece.stamp.number}/{piece.stamp.of}: give it its own name back"
            )
        for what, value, wanted in (
            ("number of parts", piece.stamp.of, first.stamp.of),
            ("images (number, names or order)", piece.stamp.listing_sha256, first.stamp.listing_sha256),
            ("classes", piece.manifest.classes, first.manifest.classes),
            ("settings", piece.manifest.note, first.manifest.note),
            ("options", piece.manifest.inventory.get("asked"), first.manifest.inventory.get("asked")),
            ("source", piece.manifest.source, first.manifest.source),
            ("formats", _kinds(piece), _kinds(first)),
        ):
            if value != wanted:
                raise ValueError(
                    f"{piece.folder} was made of other {what} than {first.folder.name}: convert one of them again"
                )
    there, of = {piece.stamp.number for piece in pieces}, first.stamp.of
    missing = [f"{number}/{of}" for number in range(1, of + 1) if number not in there]
    if missing:
        raise FileNotFoundError(f"{root} lacks parts: convert them with --part {_few(missing)}")
    return pieces


def join(root: Path, pieces: list[Piece], console: Console | None) -> Manifest:
    """The manifest of all parts together, as one process writes it; every file is compared with that of its part.

    Raises:
        ValueError: a file is not what its manifest says.
    """
    first, splits = pieces[0].manifest, dict[str, Split]()
    with progress_bar(console) as progress:
        total = sum(len(split.files) for piece in pieces for split in piece.manifest.splits.values())
        task = progress.add_task(f"checking {root.name}", total=total)
        for name in first.splits:
            pixels, labels, files = hashlib.sha256(), list[np.ndarray](), dict[str, FileEntry]()
            for piece in pieces:
                split = piece.manifest.splits[name]
                for file, entry in split.files.items():
                    problem = file_problem(where(root, piece, name, file), entry)
                    if problem:
                        raise ValueError(
                            f"{piece.folder / file}: {problem}: delete {piece.folder} and convert it again"
                        )
                    files[_target(piece, name, file)] = entry
                    progress.advance(task)
                readable = min(file for file in split.files if file.endswith((".beton", ".tar")))
                dataset = open_dataset(where(root, piece, name, readable))
                for sample in range(dataset.num_samples):
                    pixels.update(dataset.bytes(sample).data)
                labels.append(dataset.labels)
            all_labels = np.concatenate(labels)
            digests = pixels.hexdigest(), labels_digest(all_labels, len(first.classes))
            splits[name] = Split(len(all_labels), *digests, dict(sorted(files.items())))
    mean, std = histogram_statistics(np.sum([piece.histogram for piece in pieces], axis=0))
    shapes = np.array([piece.manifest.image_shape for piece in pieces])
    height, width, channels = np.where((shapes == shapes[0]).all(axis=0), shapes[0], 0).tolist()
    return Manifest(
        name=root.name,
        image_shape=(height, width, channels),
        classes=first.classes,
        mean=mean,
        std=std,
        source=first.source,
        verified=first.verified,
        note=first.note,
        splits=splits,
        inventory=join_records([piece.manifest.inventory for piece in pieces]),
    )


def put_in_place(root: Path, pieces: list[Piece]) -> None:
    """Move the files of all parts to the folders of their splits."""
    for piece in pieces:
        for name, split in piece.manifest.splits.items():
            (root / name).mkdir(exist_ok=True)
            for file in split.files:
                if (piece.folder / file).exists():
                    os.replace(piece.folder / file, root / _target(piece, name, file))
    for name in pieces[0].manifest.splits:
        sync_folder(root / name)
    sync_folder(root)


def where(root: Path, piece: Piece, split: str, file: str) -> Path:
    """Where a file of a part lies: in its folder, or in its place already, where a merge was killed."""
    here = piece.folder / file
    return here if here.exists() else root / _target(piece, split, file)


def _holds_data(folder: Path) -> bool:
    return any(path.suffix in (".beton", ".tar", ".idx") for path in folder.iterdir())


def _target(piece: Piece, split: str, file: str) -> str:
    return f"{split}/{piece.folder.name}{Path(file).suffix}"


def _kinds(piece: Piece) -> dict[str, list[str]]:
    return {name: sorted(split.files) for name, split in piece.manifest.splits.items()}


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


if __name__ == "__main__":
    run_command(merge, as_positional=True)
