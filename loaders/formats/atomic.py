"""Files that appear whole or not at all. Knows the file system; knows nothing of what is written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What a file that stopped growing can be told: no space, over the user's quota, over the process's size limit.
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "quota reached", errno.EFBIG: "file size limit reached"}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that becomes `path` when the block ends, and vanishes when it fails.

    The bytes are on disk before the name appears (fsync of the file, then of the folder). Whatever ends the block
    early, Ctrl-C included, removes the temporary file and leaves an older `path` as it was.

    Raises:
        OSError: with the same errno and one sentence that says what happened, how far the file came and what to do.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with file_errors(path, temporary):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def file_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Turn an OSError into one with the same errno and a sentence about `path`, as far as `temporary` came."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, _sentence(error, path, temporary)) from error


def _sentence(error: OSError, path: Path, temporary: Path) -> str:
    num_bytes = temporary.stat().st_size if temporary.exists() else 0
    if error.errno in _FULL:
        return (
            f"{_FULL[error.errno]} while writing {path} (after {num_bytes:,} bytes); nothing was kept: "
            f"free some space or choose another folder, then call again"
        )
    reason = error.strerror or error
    return f"could not write {path} ({reason}, after {num_bytes:,} bytes); nothing was kept: mend this, then call again"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
