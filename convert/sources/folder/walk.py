"""Walks a folder of images once: every file in it, in an order that depends on the names alone."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from convert.sources.folder.names import is_skipped, readable, why_skipped
from convert.sources.folder.values import BrokenFile, File, Place

MAX_DEPTH = 64
DEAD_LINK = "a link that leads nowhere"


@dataclass(frozen=True)
class Walked:
    """What a folder holds.

    Attributes:
        files: sorted by their paths.
        folders: their paths in the source, sorted; hidden ones are left out, as their files are.
        left_out: number of files by the reason why.
        dead: links that lead nowhere.
    """

    files: list[File] = field(default_factory=list[File])
    folders: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    left_out: Counter[str] = field(default_factory=Counter[str])
    dead: list[BrokenFile] = field(default_factory=list[BrokenFile])


def walk(root: Path) -> Walked:
    """Walk a folder. Links are followed, but for those to a folder that they lie in.

    Raises:
        ValueError: folders lie in folders more than `MAX_DEPTH` deep.
        OSError: a folder cannot be read.
    """
    walked = Walked()
    _walk(str(root), (), (), walked)
    walked.files.sort(key=lambda file: file.parts)
    walked.folders.sort()
    return walked


def _walk(folder: str, parts: tuple[str, ...], above: tuple[tuple[int, int], ...], walked: Walked) -> None:
    status = os.stat(folder)
    above = (*above, (status.st_dev, status.st_ino))
    if len(parts) > MAX_DEPTH:
        raise ValueError(f"{readable(folder)} lies more than {MAX_DEPTH} folders deep: give a folder further down")
    with os.scandir(folder) as entries:
        for entry in entries:
            name, here = entry.name, (*parts, entry.name)
            if is_skipped(name):
                _count_skipped(entry, walked.left_out)
            elif entry.is_dir():
                if _identity(entry) in above:
                    walked.left_out["link to a folder that it lies in"] += 1
                    continue
                walked.folders.append(here)
                _walk(entry.path, here, above, walked)
            elif entry.is_file():
                walked.files.append(File(here, Place(entry.path, 0, entry.stat().st_size)))
            elif entry.is_symlink():
                walked.dead.append(BrokenFile(readable("/".join(here)), DEAD_LINK))
            else:
                walked.left_out["neither file nor folder"] += 1


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    status = entry.stat()
    return status.st_dev, status.st_ino


def _count_skipped(entry: os.DirEntry[str], left_out: Counter[str]) -> None:
    """Count a skipped file, or the files in a skipped folder."""
    if not entry.is_dir(follow_symlinks=False):
        left_out[why_skipped(entry.name)] += 1
        return
    num_files = sum(len(files) for _, _, files in os.walk(entry.path))  # what may not be read counts as empty
    left_out[f"in a folder {readable(entry.name)}"] += num_files
