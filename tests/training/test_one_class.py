"""With one class every error and loss is zero: each method ends well, and its rows are written."""

import numpy as np
import pytest

from convert.writers.dataset import write_dataset
from training.coreset.command import main as choose
from training.methods import METHODS
from training.report.folder import read_rows, read_summary
from training.run import main


@pytest.fixture(scope="module")
def one_class(tmp_path_factory):
    """Folder of a data set of 120 and 40 images of one class."""
    random = np.random.default_rng(0)
    splits = {
        split: (random.integers(0, 256, (n, 32, 32, 3), np.uint8), np.zeros(n, np.int64))
        for split, n in (("train", 120), ("test", 40))
    }
    folder = tmp_path_factory.mktemp("one_class")
    write_dataset(folder, "one", splits, ("only",), source="drawn", verified=False)
    return folder


QUICK = ("p-sgd", "loss", "orderdp")


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in METHODS]
)
def test_every_method_ends_well(quick_args, one_class, tmp_path, method):
    arguments = quick_args(data=one_class, method=method, batch_size=20, epochs=2, eval_every=0, label_smoothing=0)
    if method == "proxy-filter":
        arguments += ["--width=1", "--proxy_width=0.125"]
    if method == "rho-loss":
        losses, network = tmp_path / "rho.npz", ("--model=resnet8", "--width=0.125", "--batch_size=20", "--epochs=1")
        assert choose(["--method=rho", f"--data={one_class}", f"--out={losses}", "--fraction=0.5", *network]) == 0
        arguments.append(f"--coreset={losses}")
    assert main([*arguments, f"--out={tmp_path / 'run'}"]) == 0
    rows = read_rows(tmp_path / "run")
    assert rows
    assert all(row["train_loss"] in (0, None) for row in rows)
    assert read_summary(tmp_path / "run")["test_accuracy"] == 1
