"""Reads the two official `.mat` files of SVHN's cropped digits, after their published checksums.

Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011.
"""

from pathlib import Path

import numpy as np
from rich.console import Console

from convert.sources.checksum import check_md5
from convert.sources.download import download
from convert.writers.arrays import Arrays
from loaders.formats.sentence import one_line

ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
FILES = {  # split -> the official file and its published MD5
    "train": ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
    "test": ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
}


def fetch(folder: Path, console: Console) -> Path:
    """Download those of the two files that `folder` lacks, and return the folder.

    Raises:
        ConnectionError: the official address cannot be reached; says how to get the files by hand.
        ValueError: a file has another MD5.
        OSError: a file cannot be written.
    """
    for name, md5 in FILES.values():
        if not (folder / name).is_file():
            console.print(f"{folder} lacks {name}, trying {ADDRESS}", soft_wrap=True)
            try:
                download(ADDRESS + name, folder / name, md5, console)
            except ConnectionError as error:
                raise ConnectionError(
                    f"no place has SVHN ({error}): fetch {' and '.join(name for name, _ in FILES.values())} from "
                    f"{ADDRESS} on another machine and give their folder with --source, or put them into {folder}"
                ) from None
    return folder


def read_mat(path: Path, md5: str) -> Arrays:
    """Return the images uint8 [N, 32, 32, 3] and labels int64 [N] of one official file, in its order.

    The file writes the digit 0 as label 10.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: its MD5 is not `md5`, or it holds something else.
        ImportError: SciPy is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: fetch {ADDRESS}{path.name} and give its folder with --source")
    check_md5(path, md5)
    try:
        from scipy.io import loadmat  # an optional package
    except ImportError as error:
        raise ImportError(f"reading .mat files needs SciPy ({error}): pip install scipy") from error
    try:
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"].ravel()
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape != (32, 32, 3, len(labels)):
            raise ValueError(f"X is {images.dtype} {[*images.shape]} beside {len(labels)} labels")
        if labels.dtype.kind not in "iu" or not len(labels):
            raise ValueError(f"y holds {labels.dtype} [{len(labels)}]")
    except Exception as error:  # noqa: BLE001 - SciPy raises anything on damaged files
        raise ValueError(
            f"{path} is not a file of SVHN ({one_line(error)}), needed: X uint8 [32, 32, 3, N] and y integers [N]"
        ) from None
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10
