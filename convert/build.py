"""From arrays to a finished folder: the split files in the wanted formats, then the manifest.

Knows the writers and the manifest; must not know where the arrays came from.
"""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from convert.writers.arrays import Arrays
from loaders.formats.manifest import (
    FILE_NAME,
    FileEntry,
    Manifest,
    Split,
    channel_statistics,
    file_entry,
    labels_digest,
    missing_files,
    pixels_digest,
    read_manifest,
    write_manifest,
)

FORMATS = {"beton": ("beton",), "dali": ("tar", "idx"), "both": ("beton", "tar", "idx")}  # --format: file name endings


def finished(folder: Path, format: str) -> Manifest | None:
    """The manifest of a folder that already holds every file of `format` at its full size, else None."""
    try:
        manifest = read_manifest(folder)
    except (FileNotFoundError, ValueError):
        return None
    wanted = {f"{split}.{ending}" for split in manifest.splits for ending in FORMATS[format]}
    listed = {file for split in manifest.splits.values() for file in split.files}
    return manifest if wanted <= listed and not missing_files(folder, manifest) else None


def build(
    folder: Path,
    name: str,
    splits: dict[str, Arrays],
    classes: tuple[str, ...],
    *,
    format: str = "beton",
    source: str,
    verified: bool,
    note: str = "",
    console: Console | None = None,
) -> Manifest:
    """Write `folder/{split}.*` for every split and, last of all, `folder/manifest.json`.

    Files of another format that a finished earlier call left are kept when they hold the same pixels.

    Args:
        folder: where the files go; made when absent.
        splits: arrays by split name; must hold "train", whose statistics the manifest states.
        format: "beton", "dali" (a `.tar` and its `.idx`) or "both".
        source, verified, note: as in `Manifest`.
        console: where progress is shown; None shows nothing.

    Errors: those of the writers (ImportError, OSError, ValueError).
    """
    kept = _same_content(folder, splits, len(classes))
    if not kept:
        (folder / FILE_NAME).unlink(missing_ok=True)  # it must not vouch for files that are about to change
    num_samples = sum(len(labels) for _, labels in splits.values()) * (2 if format == "both" else 1)
    written = {}
    with progress_bar(console) as progress:
        task = progress.add_task(f"writing {name}", total=num_samples)
        for split, (images, labels) in splits.items():
            paths = _write_split(folder, split, (images, labels), format, lambda count: progress.advance(task, count))
            files = {**kept.get(split, {}), **{path.name: file_entry(path) for path in paths}}
            digests = pixels_digest(images), labels_digest(labels, len(classes))
            written[split] = Split(len(labels), *digests, dict(sorted(files.items())))
    images, _ = splits["train"]
    mean, std = channel_statistics(images)
    manifest = Manifest(name, tuple(images.shape[1:]), classes, mean, std, source, verified, note, written)
    write_manifest(folder, manifest)
    return manifest


def progress_bar(console: Console | None) -> Progress:
    """Description, bar, count and time left; None shows nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=console is None)


def summary(folder: Path, manifest: Manifest) -> Table:
    """A table of the folder's files for the terminal."""
    check = "checksums match" if manifest.verified else manifest.note
    table = Table(caption=f"source: {manifest.source}; {check}", title=f"{manifest.name} in {folder}")
    for column in ("file", "samples", "MB", "sha256"):
        table.add_column(column, justify="right" if column in ("samples", "MB") else "left")
    for split in manifest.splits.values():
        for file, entry in split.files.items():
            table.add_row(file, f"{split.num_samples:,}", f"{entry.num_bytes / 1e6:.1f}", entry.sha256[:16])
    return table


def _write_split(
    folder: Path, split: str, arrays: Arrays, format: str, on_samples: Callable[[int], None]
) -> list[Path]:
    paths = [folder / f"{split}.{ending}" for ending in FORMATS[format]]
    if format != "dali":
        from convert.writers.beton import write_beton

        write_beton(paths[0], *arrays, on_samples)
    if format != "beton":
        from convert.writers.tar import write_tar

        write_tar(paths[-2], *arrays, on_samples)
    return paths


def _same_content(folder: Path, splits: dict[str, Arrays], num_classes: int) -> dict[str, dict[str, FileEntry]]:
    """Files by split of an earlier, whole conversion of the same arrays; empty when there is none."""
    try:
        manifest = read_manifest(folder)
    except (FileNotFoundError, ValueError):
        return {}
    same = manifest.splits.keys() == splits.keys() and all(
        (split.pixels_sha256, split.labels_sha256)
        == (pixels_digest(splits[name][0]), labels_digest(splits[name][1], num_classes))
        for name, split in manifest.splits.items()
    )
    if not same or missing_files(folder, manifest):
        return {}
    return {name: split.files for name, split in manifest.splits.items()}
