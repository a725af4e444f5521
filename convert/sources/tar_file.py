"""Reads tar archives whose headers are not trusted.

`tarfile` trusts every size in a header: it allocates that much memory, seeks backwards by a negative one, and can loop
at the end of a file that is cut. So it is given a file object that limits each read, and each member is checked.
"""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from loaders.formats.claims import check_expanded, check_stored
from loaders.formats.sentence import one_line

MAX_EMPTY_READS = 100  # in a row at the end of a file, after which reading fails


def list_members(path: Path) -> list[tarfile.TarInfo]:
    """The files in a tar that is not packed. Each lies whole in it, at `offset_data`.

    Raises:
        ValueError: it is packed, cut or damaged, or a member is larger than what is there.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file, _errors(path, "; a packed one must be unpacked first"):
        archive = tarfile.TarFile(fileobj=cast(IO[bytes], _Bounded(file, size)))
        members: list[tarfile.TarInfo] = []
        for member in _forward(archive):
            if member.isreg():
                check_stored(f"its member {one_line(member.name, 80)}", member.size, size - member.offset_data)
                members.append(member)
        # tarfile also stops at a damaged header, or where the file is cut.
        if os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"it is cut or damaged at byte {archive.offset:,}")
    return members


def read_members(path: Path, wanted: set[str], max_bytes: int) -> dict[str, bytes]:
    """The contents of the wanted files in a `.tar.gz`, by base name.

    Args:
        max_bytes: of one file, unpacked.

    Raises:
        ValueError: it is cut or damaged, or a wanted file claims to be larger.
        OSError: it cannot be read.
    """
    contents: dict[str, bytes] = {}
    size = path.stat().st_size
    with open(path, "rb") as packed, _errors(path, ""), gzip.GzipFile(fileobj=packed) as file:
        archive = tarfile.TarFile(fileobj=cast(IO[bytes], _Bounded(file, max_bytes)))
        for member in _forward(archive):
            name = Path(member.name).name
            content = archive.extractfile(member) if member.isreg() and name in wanted else None
            if content is not None:
                check_expanded(f"its member {name}", member.size, size, max_bytes)
                contents[name] = content.read()
    return contents


def _forward(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members in order; refuse a sparse one, a negative size, or a header that points backwards."""
    before = 0
    for member in archive:
        if member.size < 0 or member.sparse is not None or archive.offset <= before:
            raise tarfile.ReadError(f"its member {one_line(member.name, 80)} is sparse, or has no possible size")
        before = archive.offset
        yield member


@contextmanager
def _errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever is wrong with the bytes of a tar into a ValueError of one sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = one_line(error) or type(error).__name__
        raise ValueError(f"{path} is not a whole tar ({reason}){remedy}") from None


class _Bounded:
    """A file that reads at most `max_bytes` at once, and raises EOFError when its end is read again and again."""

    def __init__(self, file: io.BufferedIOBase | gzip.GzipFile | IO[bytes], max_bytes: int):
        self._file, self._max_bytes, self._empty = file, max_bytes, 0
        self.tell, self.close = file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise tarfile.ReadError("a header has a negative size")
        content = self._file.read(min(size, self._max_bytes))
        self._empty = 0 if content or not size else self._empty + 1
        if self._empty > MAX_EMPTY_READS:
            raise EOFError("it ends within a header")
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)
