"""Converts SVHN's cropped digits: `python convert/svhn.py --source FOLDER`, from the two official `.mat` files.

Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011. The split "extra" is left
out, as in Arazo et al. Digits must not be mirrored: train with `--flip false`.
"""

import sys
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from convert.build import build, finished, summary
from convert.command import run_command
from convert.sources.checksum import check_md5
from convert.writers.arrays import Arrays

ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
CLASSES = tuple("0123456789")
FILES = {  # split -> the official file and its published MD5
    "train": ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
    "test": ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
}


def convert_svhn(source: Path, root: Path = Path("data"), format: Literal["beton", "dali", "both"] = "beton") -> None:
    """Write ROOT/svhn with train and test files and a manifest; returns at once when they are already there.

    Args:
        source: the folder that holds train_32x32.mat and test_32x32.mat.
        root: the folder that holds all data sets.
        format: .beton files, .tar and .idx for DALI, or both.
    """
    folder, console = root / "svhn", Console(markup=False)
    manifest = finished(folder, format)
    if manifest is not None:
        console.print(f"{folder} is already there; delete it to convert again", soft_wrap=True)
        return
    with console.status(f"reading {source}"):
        splits = {split: read_mat(source / name, md5) for split, (name, md5) in FILES.items()}
    names = " and ".join(name for name, _ in FILES.values())
    manifest = build(folder, "svhn", splits, CLASSES, format=format, source=names, verified=True, console=console)
    console.print(summary(folder, manifest))


def read_mat(path: Path, md5: str) -> Arrays:
    """Images and labels of one official file, in its order; its label 10 is the digit 0.

    Raises:
        FileNotFoundError, ValueError: the file is missing, or is not the published one.
        ImportError: SciPy is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: fetch {ADDRESS}{path.name} and give its folder with --source")
    check_md5(path, md5)
    try:
        from scipy.io import loadmat  # only here: an optional package
    except ImportError as error:
        raise ImportError(f"reading .mat files needs SciPy ({error}): pip install 'rebar-loaders[svhn]'") from error
    content = loadmat(path, variable_names=("X", "y"))
    return np.ascontiguousarray(content["X"].transpose(3, 0, 1, 2)), content["y"].ravel().astype(np.int64) % 10


if __name__ == "__main__":
    run_command(convert_svhn)
