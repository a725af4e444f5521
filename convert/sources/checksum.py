"""Compares files with the MD5 checksums that data sets publish."""

import hashlib
from pathlib import Path


def file_md5(path: Path) -> str:
    """Return the MD5 of a file, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def check_md5(path: Path, md5: str) -> None:
    """Raise ValueError unless the file has this MD5."""
    got = file_md5(path)
    if got != md5:
        raise ValueError(
            f"{path} has the wrong checksum: its MD5 is {got}, the published one is {md5}; delete it and get it again"
        )
