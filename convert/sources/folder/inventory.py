"""What a conversion found, as a person reads it before anything is written, and as the manifest keeps it."""

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from convert.sources.folder.values import BrokenFile, FoundImages
from loaders.formats.sentence import one_line

MAX_ROWS = 20  # of the table of classes
MAX_KINDS = 12  # of files that are left out, on the terminal
MAX_NAMES = 1000  # of broken files of each kind, on the terminal


def told(counts: Mapping[str, int]) -> str:
    """Counts with what is counted, as in "8 .DS_Store, 3 .heic: Pillow has no reader"; most first."""
    by_count = sorted(((what, count) for what, count in counts.items() if count), key=lambda item: (-item[1], item[0]))
    shown = by_count if len(by_count) <= MAX_KINDS else by_count[: MAX_KINDS - 1]
    parts = [f"{count:,} {what}" for what, count in shown]
    if len(shown) < len(by_count):
        rest = by_count[len(shown) :]
        parts.append(f"{sum(count for _, count in rest):,} of {len(rest)} other kinds")
    return ", ".join(parts)


def files(count: int) -> str:
    """As in "1 file" and "2 files"."""
    return f"{count:,} file{'s' * (count != 1)}"


def print_inventory(found: FoundImages, console: Console) -> None:
    """Print a table of classes, splits and counts, what is left out and why, and what else a person should know."""
    counts = found.counts()
    table = Table()
    table.add_column("label", justify="right")
    table.add_column("class", overflow="fold")
    for split in counts:
        table.add_column(split, justify="right")
    shown = len(found.classes) if len(found.classes) <= MAX_ROWS else MAX_ROWS // 2
    for label in range(shown):
        numbers = [f"{numbers[label]:,}" for numbers in counts.values()]
        table.add_row(str(label), one_line(found.classes[label], 60), *numbers)
    if shown < len(found.classes):
        further = [numbers[shown:] for numbers in counts.values()]
        ranges = [f"{min(numbers):,} to {max(numbers):,}" for numbers in further]
        table.add_row("...", f"{len(found.classes) - shown:,} more classes", *ranges)
    table.add_section()
    table.add_row(
        "",
        f"{len(found.classes):,} {'class' if len(found.classes) == 1 else 'classes'}",
        *(f"{sum(numbers):,}" for numbers in counts.values()),
    )
    console.print(table)
    for line in lines(found):
        console.print(line, soft_wrap=True)


def lines(found: FoundImages) -> list[str]:
    """The sentences below the table."""
    left_out = sum(found.left_out.values())
    said = [f"left out: {files(left_out)} ({told(found.left_out)})"] if left_out else []
    return said + [f"note: {note}" for note in found.notes]


def print_broken(broken: Iterable[BrokenFile], console: Console) -> None:
    """Print the name of every file that cannot be used, by its kind."""
    by_kind: dict[str, list[str]] = {}
    for file in broken:
        by_kind.setdefault(file.kind, []).append(file.name)
    for kind, names in sorted(by_kind.items()):
        console.print(f"{files(len(names))}: {kind}", soft_wrap=True)
        for name in names[:MAX_NAMES]:
            console.print(f"    {one_line(name)}", soft_wrap=True)
        if len(names) > MAX_NAMES:
            console.print(f"    and {len(names) - MAX_NAMES:,} more")


def refusal(broken: list[BrokenFile]) -> str:
    """One sentence on files that cannot be used."""
    few = "; ".join(f"{one_line(file.name)}: {one_line(file.kind, 120)}" for file in broken[:3])
    more = f"; and {len(broken) - 3:,} more, listed above" if len(broken) > 3 else ""
    them = "it" if len(broken) == 1 else "them"
    return (
        f"{files(len(broken))} cannot be used ({few}{more}): repair or remove {them}, or leave {them} out with "
        "--skip-broken"
    )
