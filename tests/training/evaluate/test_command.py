"""`python -m training.evaluate`: what a run said of its test set is said again, and of any split."""

import shutil

import numpy as np
import pytest

from convert.writers.dataset import write_dataset
from loaders.formats.open import open_dataset
from training.evaluate.command import main
from training.report.folder import read_rows, read_summary
from training.run import main as main_run


@pytest.fixture(scope="module")
def with_val(shapes, tmp_path_factory):
    """A data set whose val split is the first 150 of its 600 training images."""
    folder = tmp_path_factory.mktemp("data") / "val"
    splits = {}
    for name, file, count in (("train", "train", 600), ("val", "train", 150), ("test", "test", 200)):
        dataset = open_dataset(shapes / f"{file}.beton")
        splits[name] = (np.array(dataset.images[:count]), dataset.labels[:count].copy())
    classes = tuple(map(str, range(10)))
    write_dataset(folder, "val", splits, classes, source="shapes", verified=False, note="")
    return folder


@pytest.fixture(scope="module")
def run(with_val, quick_args, tmp_path_factory):
    """A run that was tested on val."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert main_run(quick_args(data=with_val, out=out, eval_split="val", epochs=2, tta="true")) == 0
    return out


def test_the_run_is_tested_on_val_and_named_so(run, capsys):
    summary = read_summary(run)
    assert "test_accuracy" not in summary
    assert [row["val_accuracy"] for row in read_rows(run)][-1] == summary["val_accuracy"]
    assert main([str(run), "--tta=true", "--precision=fp32", "--backend=reference"]) == 0
    one, tta = (100 * summary[f"val_accuracy{kind}"] for kind in ("", "_tta"))
    told = f"val: {one:.2f} %, {tta:.2f} % with test-time augmentation of 150 images, loss {summary['val_loss']:.4f}"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(("split", "count"), [("test", 200), ("train", 600)])
def test_any_split_may_be_asked_for(run, capsys, split, count):
    assert main([str(run), f"--eval_split={split}", "--backend=reference"]) == 0
    assert f"of {count} images" in capsys.readouterr().out


def test_a_run_that_held_images_out_is_tested_on_those(quick_args, tmp_path, capsys):
    assert main_run(quick_args(out=tmp_path, validation=0.25, epochs=1)) == 0
    summary = read_summary(tmp_path)
    assert main([str(tmp_path), "--precision=fp32", "--backend=reference"]) == 0
    told = f"validation: {100 * summary['validation_accuracy']:.2f} % of 150 images, loss"
    assert told in capsys.readouterr().out


def test_a_mistake_is_one_sentence(run, shapes, with_val, quick_args, tmp_path, capsys):
    for arguments, sentence in (
        ([str(tmp_path)], "holds no checkpoint.pt, from which"),
        ([str(run), "--eval_split=all"], "eval_split"),
        ([str(run), "--model=resnet18"], "the network of the run is resnet8, not resnet18: leave --model out"),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert sentence in told
        assert told.count("\n") == 1
    assert main_run(quick_args(out=tmp_path / "a", eval_split="val")) == 2
    assert f"{shapes} has no val split, only train, test: leave --eval_split out" in capsys.readouterr().err
    assert main_run(quick_args(out=tmp_path / "b", data=with_val, eval_split="val", validation=0.1)) == 2
    assert "give one of --eval_split, --validation" in capsys.readouterr().err
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "summary.json").unlink()
    assert main_run(["--resume", str(copy), "--eval_split=test"]) == 2
    assert "eval_split was 'val' and is now 'test'" in capsys.readouterr().err
