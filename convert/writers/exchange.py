"""Puts a new data set in the place of an old one, so that a kill at any instant leaves one of the two whole.

A data set is written into a folder of its own inside the target, `.converting`. When all of it is on disk, that folder
is renamed to `.converted`: from here on the new set is the one that counts, and moving its files to their places can be
begun again as often as need be. While they move there is no manifest, so that nobody takes a mixture for a data set.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from loaders.formats.atomic import sync_folder
from loaders.formats.lock import FILE as LOCK
from loaders.formats.lock import lock_folder
from loaders.formats.manifest import FILE_NAME, read_manifest

ENDINGS = ("beton", "tar", "idx")  # of the files of a split
BUILDING, READY = ".converting", ".converted"
SHEET = "contact_sheet.png"  # which `convert.verify` draws of a data set
_EARLIER = "earlier"  # folder of the old manifest, while its files are exchanged


@contextmanager
def exchanging(folder: Path, console: Console | None = None) -> Iterator[Path]:
    """Yield an empty folder; when the block ends, what is in it takes the place of the data set in `folder`.

    The block writes files of splits and, last of all, a manifest, which may also name files of the old set: these stay.
    The other files of the old set go, its contact sheet too. A block that fails leaves the old set
    as it was. What an earlier conversion that was killed has left is finished where its data set was whole, or removed.

    Args:
        console: where it is said that a file is removed; None says nothing.

    Raises:
        BlockingIOError: another process writes to the folder.
        OSError: a file cannot be written or moved.
    """
    with lock_folder(folder):
        _move_in(folder, console)
        new = folder / BUILDING
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            yield new
            sync_folder(new)
            os.rename(new, folder / READY)
            sync_folder(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _move_in(folder, console)


def finish_exchange(folder: Path) -> None:
    """Move a whole data set to its place where a conversion was killed while it did so, and remove what it left.

    Raises:
        BlockingIOError: a whole data set waits, and another process writes to the folder.
        OSError: a file of it cannot be moved.
    """
    left = [name for name in (READY, BUILDING, LOCK) if (folder / name).exists()]
    if not left:
        return
    try:
        with lock_folder(folder):
            _move_in(folder, None)
            shutil.rmtree(folder / BUILDING, ignore_errors=True)
    except OSError:
        if READY in left:
            raise
        # Else a conversion is at work, or the folder is read-only: what is there may be read all the same.


def _move_in(folder: Path, console: Console | None) -> None:
    """Exchange the old data set for the one in READY, from wherever an earlier call was killed; nothing without it."""
    ready, manifest, earlier = folder / READY, folder / FILE_NAME, folder / READY / _EARLIER
    if (ready / FILE_NAME).exists():
        if manifest.exists():
            earlier.mkdir(exist_ok=True)
            os.replace(manifest, earlier / FILE_NAME)
        sync_folder(folder)
        for name in _stale(ready):
            if console is not None and (folder / name).exists():
                console.print(f"removing {folder / name}: it holds other images", soft_wrap=True)
            (folder / name).unlink(missing_ok=True)
        (folder / SHEET).unlink(missing_ok=True)
        for path in ready.iterdir():
            if path.name not in (FILE_NAME, _EARLIER):
                os.replace(path, folder / path.name)
        sync_folder(folder)
        os.replace(ready / FILE_NAME, manifest)  # last: the names that it vouches for are in place
        sync_folder(folder)
    shutil.rmtree(ready, ignore_errors=True)


def _stale(ready: Path) -> list[str]:
    """Files of the old data set that the new one does not name. A manifest may name any file; only those that a
    conversion writes are taken."""
    try:
        old = read_manifest(ready / _EARLIER)
    except (FileNotFoundError, ValueError):
        return []
    new, endings = read_manifest(ready), "|".join(ENDINGS)
    splits = "|".join(map(re.escape, {**old.splits, **new.splits}))
    ours = rf"({splits})(/part-[0-9]{{5}}-of-[0-9]{{5}})?\.({endings})"
    kept = {name for split in new.splits.values() for name in split.files}
    named = {name for split in old.splits.values() for name in split.files}
    return sorted(name for name in named - kept if re.fullmatch(ours, name))
