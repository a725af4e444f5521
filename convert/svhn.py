"""Converts SVHN's cropped digits: `python convert/svhn.py`, from the two official `.mat` files.

Without --source they are looked for under ROOT/svhn, then fetched from the official address. The split "extra" is left
out, as in Arazo et al., "How important is importance sampling for deep budgeted training?", 2021. Digits must not be
mirrored: train with `--config configs/arazo_svhn.yaml`, or with `--flip false`.
"""

import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.command import run_command
from convert.terminal import print_summary
from convert.writers.split import finished

CLASSES = tuple("0123456789")


def convert_svhn(
    source: Path | None = None, root: Path = Path("data"), format: Literal["beton", "dali", "both"] = "beton"
) -> None:
    """Convert SVHN to ROOT/svhn: train and test files, and a manifest.

    When they are already there, nothing is done.

    Args:
        source: the folder that holds train_32x32.mat and test_32x32.mat; by default ROOT/svhn, to which they are
            downloaded where they are missing.
        root: the folder that holds all data sets.
        format: .beton files; "dali" for .tar files with their .idx; or both.

    Raises:
        FileNotFoundError, ValueError: `source` lacks a file, or one is not SVHN's.
        ConnectionError: there is no `source`, and the official address cannot be reached.
        ImportError: a package is not installed that is needed.
        OSError: a file cannot be written.
    """
    folder, console = root / "svhn", Console(markup=False)
    manifest = finished(folder, format)
    if manifest is not None:
        console.print(f"{folder} is already there; delete it to convert again", soft_wrap=True)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.svhn_mat import FILES, fetch, read_mat
    from convert.verify import check_written
    from convert.writers.dataset import write_dataset

    if source is None:
        source = fetch(folder, console)
    with console.status(f"reading {source}"):
        splits = {split: read_mat(source / name, md5) for split, (name, md5) in FILES.items()}
    names = " and ".join(name for name, _ in FILES.values())
    manifest = write_dataset(
        folder, "svhn", splits, CLASSES, format=format, source=names, verified=True, console=console
    )
    print_summary(folder, manifest, console)
    check_written(folder, console)


if __name__ == "__main__":
    run_command(convert_svhn)
