"""What a conversion shows on the terminal: a progress bar and, at the end, a table of the files."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from loaders.formats.manifest import Manifest


def progress_bar(console: Console | None) -> Progress:
    """Return a display of description, bar, count and time left; with None it shows nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=console is None)


def summary(folder: Path, manifest: Manifest) -> Table:
    """Return a table of the files of a converted data set, with its source and how far that was verified."""
    check = "checksums match" if manifest.verified else manifest.note
    table = Table(caption=f"source: {manifest.source}; {check}", title=f"{manifest.name} in {folder}")
    for column in ("file", "samples", "MB", "sha256"):
        table.add_column(column, justify="right" if column in ("samples", "MB") else "left")
    for split in manifest.splits.values():
        for file, entry in split.files.items():
            table.add_row(file, f"{split.num_samples:,}", f"{entry.num_bytes / 1e6:.1f}", entry.sha256[:16])
    return table
