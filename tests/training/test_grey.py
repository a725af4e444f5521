"""Grey images through a whole run: one channel from the file to the network, and in the programs that read the run."""

import numpy as np
import pytest

from convert.shapes import make_shapes
from convert.writers.dataset import write_dataset
from training.evaluate.command import main as main_evaluate
from training.inspect.command import main as main_inspect
from training.report.folder import read_summary
from training.report.past_run import read_run
from training.run import main as main_run


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Folder of the data set of shapes, without its colours."""
    pytest.importorskip("ffcv", reason="writing .beton files needs the extra rebar-loaders[ffcv]")
    folder, splits = tmp_path_factory.mktemp("data") / "grey", {}
    for split, count in (("train", 600), ("test", 200)):
        images, labels = make_shapes(count, split=split)
        splits[split] = images.mean(3, keepdims=True).round().astype(np.uint8), labels
    write_dataset(folder, "grey", splits, tuple(map(str, range(10))), source="shapes", verified=False, note="")
    return folder


@pytest.fixture(scope="module")
def run(grey, quick_args, tmp_path_factory):
    """A run of RebarNet on grey images, mixed and at two sizes."""
    out = tmp_path_factory.mktemp("run") / "run"
    settings = {"model": "rebarnet", "width": 0.25, "backend": "auto", "size_schedule": "[24, 32]", "mixer": "ricap"}
    assert main_run(quick_args(data=grey, out=out, **settings)) == 0
    return out


def test_the_network_sees_one_channel(run, capsys):
    network = read_run(run).model
    assert network.stem.weight.shape == (32, 1, 2, 2)
    accuracy = read_summary(run)["test_accuracy"]
    assert main_evaluate([str(run)]) == 0
    assert f"{accuracy:.2%}".replace("%", "") in capsys.readouterr().out


def test_a_page_on_the_run(run, tmp_path):
    pytest.importorskip("jinja2", reason="needs the extra rebar-loaders[study]")
    assert main_inspect([str(run), f"--out={tmp_path}"]) == 0
    assert (tmp_path / "samples.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mean": "[0.5, 0.4, 0.3]", "std": "[1, 1, 1]"}, "--mean and --std need 1 number, one a channel of"),
        ({"image_size": 24, "backend": "auto"}, "holds images of one channel, which no quick backend resizes: leave"),
    ],
)
def test_settings_that_do_not_fit_grey_images(grey, quick_args, tmp_path, capsys, changes, sentence):
    assert main_run(quick_args(data=grey, out=tmp_path / "run", **changes)) == 2
    assert sentence in capsys.readouterr().err


def test_one_mean_does_not_fit_three_channels(quick_args, tmp_path, capsys):
    assert main_run(quick_args(out=tmp_path / "run", mean="[0.5]", std="[0.5]")) == 2
    assert "--mean and --std need 3 numbers, one a channel of" in capsys.readouterr().err
