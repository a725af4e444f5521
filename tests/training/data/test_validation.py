"""A hold-out for tuning: the test set stays untouched."""

import json
import shutil

import numpy as np
import pytest
import torch

from loaders.formats.manifest import FILE_NAME
from loaders.types import EpochPlan
from training import checkpoint
from training.arguments import make_config
from training.data.validation import held_out
from training.models.build import build_model
from training.report.folder import read_summary
from training.run import main
from training.setup import set_up


def test_a_hold_out_is_stratified_and_always_the_same():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    ids = held_out(labels, 0.1)
    assert np.bincount(labels[ids]).tolist() == [60, 30, 10]
    assert np.array_equal(ids, np.unique(ids))
    assert np.array_equal(ids, held_out(labels, 0.1))
    assert set(ids) <= set(held_out(labels, 0.2).tolist()), "a larger one holds the smaller one"
    with pytest.raises(ValueError, match=r"validation 0\.0001 of 1000 samples holds out none"):
        held_out(labels, 0.0001)


@pytest.mark.parametrize(
    "method",
    ["scan", "p-sgd", "infobatch"]
    + [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("uniform", "fixed", "seta", "orderdp", "selective-backprop")
    ],
)
def test_held_out_samples_are_never_trained_on(quick_args, shapes, tmp_path, method):
    out = tmp_path / "run"
    assert main(quick_args(method=method, validation=0.2, budget=0.5, epochs=2, batch_size=20, out=out)) == 0
    run = set_up(make_config({"data": str(shapes), "validation": 0.2, "model": "resnet8", "width": 0.5}))
    table = checkpoint.load(out / "checkpoint.pt")["table"]
    visits = (table["total"][:, 0] + table["epoch"][:, 0]).numpy()
    ids = run.data.held_out
    assert len(ids) == 120
    assert visits[ids].sum() == 0
    assert visits.sum() == pytest.approx(read_summary(out)["samples"])
    if method == "uniform":
        assert read_summary(out)["samples"] == 2 * 240, "half of the 480 that are left"


def test_held_out_images_do_not_shape_the_networks_first_layer(shapes):
    run = set_up(make_config({"data": str(shapes), "validation": 0.2, "width": 0.25}))
    kept = np.setdiff1d(np.arange(600), run.data.held_out)
    images = torch.cat([batch.images for batch in run.data.test_loader.epoch(EpochPlan(kept))])
    generator = torch.Generator().manual_seed(0)
    model = build_model("rebarnet", 3, generator=generator, width=0.25, whitening_images=images)
    assert torch.equal(run.model.stem.weight, model.stem.weight)


def test_what_is_tested_has_its_own_name(quick_args, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(quick_args(validation=0.2, epochs=1, out=out)) == 0
    row = json.loads((out / "metrics.jsonl").read_text())
    assert 0 <= row["validation_accuracy"] <= 1
    assert not any(name.startswith("test_") for name in [*row, *read_summary(out)])
    told = capsys.readouterr().out
    assert "validation accuracy" in told
    assert "test accuracy" not in told


def test_a_data_set_without_a_test_split_will_do(quick_args, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "shapes")
    (data / "test.beton").unlink()
    manifest = json.loads((data / FILE_NAME).read_text())
    del manifest["splits"]["test"]
    (data / FILE_NAME).write_text(json.dumps(manifest))
    assert main(quick_args(data=data, validation=0.2, epochs=1, out=tmp_path / "run")) == 0


def test_not_with_a_core_set(quick_args, tmp_path, capsys):
    assert main(quick_args(validation=0.2, coreset=tmp_path / "none.npz", out=tmp_path / "run")) == 2
    assert "core-set" in capsys.readouterr().err
