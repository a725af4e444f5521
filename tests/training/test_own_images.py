"""Training on images of one's own, as convert/folder.py makes them: JPEG of many sizes."""

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from training.coreset import command as coreset
from training.report import folder as record
from training.run import main

pytestmark = pytest.mark.ffcv


@pytest.fixture(scope="module", params=["colour", pytest.param("grey", marks=pytest.mark.slow)])
def images(request, tmp_path_factory):
    """A converted folder of noisy stripes, upright in one class and level in the other, 120 and 40 of them."""
    source, random = tmp_path_factory.mktemp("images"), np.random.Generator(np.random.Philox(0))
    for number in range(160):
        height, width = random.integers(24, 48, 2)
        stripes = 120 * (np.indices((height, width))[number % 2] // 4 % 2)[..., None]
        noise = random.integers(0, 100, (height, width, 1 if request.param == "grey" else 3))
        path = source / ("train" if number < 120 else "test") / ("level", "upright")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.broadcast_to(stripes + noise, (height, width, 3)).astype(np.uint8)).save(path, quality=95)
    root = tmp_path_factory.mktemp("data") / request.param
    convert_folder(source, root)
    return root


RECIPE = {
    "model": "rebarnet",
    "width": 0.25,
    "optimizer": "muon",
    "lr": 1.25,
    "budget": 1,
    "epochs": 6,
    "batch_size": 20,
}


def test_they_are_brought_to_one_size_and_learned(images, quick_args, tmp_path):
    changes = {"image_size": 24, "backend": "auto", "eval_every": 0}
    assert main(quick_args(data=images, out=tmp_path / "run", **RECIPE, **changes)) == 0
    summary = record.read_summary(tmp_path / "run")
    assert summary["test_accuracy"] > 0.8
    assert summary["backend"] == "native"


def test_which_size_must_be_said(images, quick_args, tmp_path, capsys):
    assert main(quick_args(data=images, out=tmp_path / "run", **RECIPE)) == 2
    assert "vary in size: say which to bring them to, as --image_size 64" in capsys.readouterr().err


def test_a_core_set_of_them(images, tmp_path):
    path = tmp_path / "chosen.npz"
    options = ["--method=margin", "--epochs=1", "--width=0.1", "--batch_size=20", "--fraction=0.5", "--image_size=24"]
    assert coreset.main([f"--data={images}", f"--out={path}", *options]) == 0
    assert path.exists()
