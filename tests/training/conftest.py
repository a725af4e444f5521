"""Small data and quick settings, shared by the tests of training."""

import pytest
import torch

from convert.shapes import convert_shapes

NUM_TRAIN, NUM_TEST = 600, 200
QUICK = {
    "model": "resnet8",
    "width": 0.5,
    "method": "uniform",
    "optimizer": "sgd",
    "lr": 0.05,
    "label_smoothing": 0.1,
    "budget": 0.5,
    "epochs": 3,
    "batch_size": 50,
    "backend": "reference",
    "size_schedule": "[]",
    "ema": 0,
}


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Folder of a converted `shapes` data set of 600 and 200 images."""
    root = tmp_path_factory.mktemp("data")
    convert_shapes(root, NUM_TRAIN, NUM_TEST)
    return root / "shapes"


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Threads that wait for each other on busy cores are slower than one thread.

    Around every other fixture too: two runs are equal to the bit on the same number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def quick_args(shapes):
    """A function: settings that differ from QUICK -> the command line of a run of a second or two."""

    def arguments(**changes) -> list[str]:
        return [f"--{name}={value}" for name, value in {"data": shapes, **QUICK, **changes}.items()]

    return arguments
