"""Write files that appear whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Reasons why a file cannot grow: the disk, the user's quota, the process's limit.
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "quota reached", errno.EFBIG: "file size limit reached"}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` when the block ends and removed when the block fails.

    The bytes are on disk before the name appears (fsync of the file, then of the folder). Whatever ends the block
    early, Ctrl-C included, leaves an older `path` as it was. Missing parent folders are made.

    Raises:
        OSError: as `file_errors`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with file_errors(path, temporary):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def temporary_path(path: Path) -> Path:
    """Where this process puts the bytes of a file until they are whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_leftovers(folder: Path, names: str) -> None:
    """Remove the temporary files that a killed process has left. Only the holder of the folder's lock may call it.

    Args:
        names: a regular expression of the names that the files were to have.
    """
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(rf"\.(?:{names})\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)


@contextmanager
def file_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Turn an OSError of the block into one that says what happened, how far the file came and what to do.

    Args:
        path: the file that was to be written.
        temporary: where its bytes went; its size is told.

    Raises:
        OSError: with the same errno.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, _sentence(error, path, temporary)) from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk (fsync)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sentence(error: OSError, path: Path, temporary: Path) -> str:
    num_bytes = temporary.stat().st_size if temporary.exists() else 0
    if error.errno in _FULL:
        return (
            f"{_FULL[error.errno]} while writing {path} (after {num_bytes:,} bytes); nothing was kept: "
            f"free some space or choose another folder, then call again"
        )
    reason = error.strerror or error
    return (
        f"could not write {path} ({reason}, after {num_bytes:,} bytes); nothing was kept: "
        f"check the disk and its permissions, then call again"
    )
