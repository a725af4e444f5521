"""`python -m training.export`: another program has the network's weights, and what they need to be used."""

import importlib.util
import json

import pytest
import torch

from loaders.augment.config import Augment
from loaders.loader import make_loader
from training.export.command import main
from training.models.build import build_model
from training.report.folder import read_summary
from training.run import main as main_run


@pytest.fixture(scope="module")
def run(quick_args, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    assert main_run(quick_args(out=out, epochs=2, ema=0.9)) == 0
    return out


def accuracy(model: torch.nn.Module, about: dict, path) -> float:
    """As a program would find it that knows the file of weights only."""
    loader = make_loader(path, 200, backend="reference", augment=Augment(mean=about["mean"], std=about["std"]))
    with torch.inference_mode():
        hits = [(model.eval()(batch.images).argmax(1) == batch.labels).float().mean() for batch in loader]
    return hits[0].item()


def test_the_weights_are_those_that_were_tested(run, shapes, tmp_path, capsys):
    assert main([str(run), f"--out={tmp_path / 'out'}"]) == 0
    content = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert (content["model"], content["width"], content["image_size"]) == ("resnet8", 0.5, [32, 32])
    assert len(content["classes"]) == 10
    model = build_model("resnet8", 10, generator=torch.Generator(), width=0.5)
    model.load_state_dict(content["weights"])
    wanted = read_summary(run)["test_accuracy"]
    assert accuracy(model, content, shapes / "test.beton") == pytest.approx(wanted)
    assert all(weight.is_contiguous() for weight in content["weights"].values())


def test_safetensors_hold_the_same(run, tmp_path):
    safetensors = pytest.importorskip("safetensors", reason="needs the extra rebar-loaders[export]")
    assert main([str(run), f"--out={tmp_path}"]) == 0
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(content["weights"])
        assert all(torch.equal(file.get_tensor(name), content["weights"][name]) for name in file.keys())  # noqa: SIM118
        about = {name: json.loads(value) for name, value in file.metadata().items()}
    assert about == {name: value for name, value in content.items() if name != "weights"}


def test_without_safetensors_it_says_so(run, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "safetensors" else find(name))
    assert main([str(run), f"--out={tmp_path}"]) == 0
    assert "the package safetensors is not installed" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_folder_without_a_run_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no checkpoint.pt" in capsys.readouterr().err
