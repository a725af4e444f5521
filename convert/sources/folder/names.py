"""What the names of files and folders mean: hidden ones, those of a system, and those of splits."""

import os
import unicodedata

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SYSTEM_FOLDERS = {
    "__macosx",
    "@eadir",
    "lost+found",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "__pycache__",
}
_SYSTEM = _SYSTEM_FILES | _SYSTEM_FOLDERS
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in _SPLITS.items() for name in names}
SPLIT_NAMES = "train|training, val|valid|validation|dev, test|testing"


def is_skipped(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems leave behind: .DS_Store, ._x.jpg, Thumbs.db, @eaDir."""
    return name.startswith(".") or name.lower() in _SYSTEM


def why_skipped(name: str) -> str:
    """Such an entry, as it is counted."""
    if name.startswith("._"):
        return "._* of macOS"
    return name if name.lower() in _SYSTEM or name == ".DS_Store" else "hidden"


def split_of(name: str) -> str:
    """The split that a folder of this name holds, "train", "val" or "test"; "" if it is none."""
    return _SPLIT_OF.get(name.lower(), "")


def readable(name: str) -> str:
    """A name as text that every terminal and file can hold.

    One that is not UTF-8 is taken for Latin-1. Composed and decomposed letters, which look the same, become the same.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("latin-1")
    return unicodedata.normalize("NFC", name)
