"""What a conversion shows on the terminal: its progress and, at the end, a table of the files."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from loaders.formats.manifest import FileEntry, Manifest


def progress_bar(console: Console | None) -> Progress:
    """Return a display of description, bar, percentage and time left; with None it shows nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=console is None)


def print_summary(folder: Path, manifest: Manifest, console: Console) -> None:
    """Print a table of the files of a converted data set, its source, and how far that was verified."""
    table = Table()
    for column in ("file", "samples", "MB", "sha256"):
        table.add_column(column, justify="right" if column in ("samples", "MB") else "left")
    for split in manifest.splits.values():
        shards: dict[str, list[FileEntry]] = {}  # of each kind, one row
        for file, entry in split.files.items():
            if "/" in file:
                shards.setdefault(f"{file.partition('/')[0]}/*{Path(file).suffix}", []).append(entry)
            else:
                table.add_row(file, f"{split.num_samples:,}", f"{entry.num_bytes / 1e6:.1f}", entry.sha256[:16])
        for files, entries in shards.items():
            size = sum(entry.num_bytes for entry in entries)
            table.add_row(files, f"{split.num_samples:,}", f"{size / 1e6:.1f}", f"{len(entries)} files")
    check = "checksums match" if manifest.verified else manifest.note
    console.print(f"{folder}: {len(manifest.classes)} classes, from {manifest.source} ({check})", soft_wrap=True)
    console.print(table)
