"""The order of the classes, and which of them may lack images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from convert.sources.folder.names import readable
from convert.sources.folder.values import FoundImages
from loaders.formats.claims import read_limited
from loaders.formats.sentence import one_line

MAX_BYTES = 1 << 24
FEW = 8  # names in a sentence


def read_class_list(path: Path) -> tuple[str, ...]:
    """Read class names from a text file, one on each line; label k is the k-th. Empty lines are passed over.

    Raises:
        ValueError: it names nothing, or a class twice.
        OSError: it cannot be read.
    """
    content = read_limited(path, MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    names = tuple(readable(line.strip()) for line in text.splitlines() if line.strip())
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set[str]()
    if twice or not names:
        raise ValueError(f"{path} names {'no class' if not names else f'{few(twice)} twice'}: one class on each line")
    return names


def ordered(names: Iterable[str], listed: tuple[str, ...], *, by_value: bool = False) -> tuple[str, ...]:
    """The classes in the order of their labels: as listed, else sorted by name, or by value where they are integers.

    Raises:
        ValueError: a class is not in the list.
    """
    unknown = set(names) - set(listed)
    if not listed:
        return tuple(sorted(names, key=int) if by_value else sorted(names))
    if unknown:
        raise ValueError(f"the class list lacks {few(unknown)}: add the names to it, or leave --class-list out")
    return listed


def check_classes(found: FoundImages, allow_empty: bool) -> tuple[str, ...]:
    """Refuse classes without an image to train on, unless they are allowed; return what to say of those without a test.

    Raises:
        ValueError: names the classes.
    """
    counts = found.counts()
    others = [split for split in counts if split != "train"]
    empty = [name for name, count in zip(found.classes, counts["train"], strict=True) if not count]
    elsewhere = {name for k, name in enumerate(found.classes) if any(counts[split][k] for split in others)}
    if empty and not allow_empty:
        where = [f"{name} (only in {' and '.join(others)})" if name in elsewhere else name for name in empty]
        raise ValueError(
            f"{len(empty)} of {len(found.classes)} classes {'have' if len(empty) > 1 else 'has'} no image in train: "
            f"{few(where)}: remove or rename them, or keep them as classes with --allow-empty"
        )
    notes = [f"classes without an image in train are kept: {few(empty)}"] if empty else []
    for split in others:
        missing = [name for k, name in enumerate(found.classes) if counts["train"][k] and not counts[split][k]]
        if missing:
            notes.append(f"{len(missing)} of {len(found.classes)} classes have no image in {split}: {few(missing)}")
    return tuple(notes)


def note_on_order(classes: tuple[str, ...], listed: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence where numbers sort as text, since a label is then another number than the name of its class."""
    if listed or not all(name.isdecimal() for name in classes):
        return ()
    for k, (name, by_value) in enumerate(zip(classes, sorted(classes, key=int), strict=True)):
        if name != by_value:
            told = f"classes are sorted as text, as ImageFolder does: label {k} is {name}"
            return (f"{told}; --class-list sets another order",)
    return ()


def few(names: Iterable[str]) -> str:
    """Some of the names, sorted, for a sentence."""
    return few_in_order(sorted(names))


def few_in_order(names: Sequence[str]) -> str:
    """The first of the names, for a sentence."""
    shown = [one_line(name, 60) for name in names[:FEW]]
    return ", ".join(shown) + f" and {len(names) - FEW:,} more" * (len(names) > FEW)
