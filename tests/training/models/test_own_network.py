"""A network of your own, FILE.py:FUNCTION: it is trained, resumed and used, and what is wrong is one sentence."""

import shutil
from pathlib import Path

import pytest
import torch

from training import checkpoint
from training.evaluate.command import main as evaluate
from training.export.command import main as export
from training.inspect.command import main as inspect
from training.ledger import count_flops
from training.machine.commands import command
from training.models.build import build_model
from training.report import report
from training.report.folder import read_summary
from training.run import main

EXAMPLE = Path(__file__).parents[3] / "examples/own_model.py"
SETTINGS = {"epochs": 2, "size_schedule": "[24,32]", "eval_every": 0}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """FILE.py:FUNCTION of a copy of the example, whose network has a dropout."""
    return f"{shutil.copy(EXAMPLE, tmp_path_factory.mktemp('own') / 'mine.py')}:plain_network"


@pytest.fixture(scope="module")
def whole(own, quick_args, tmp_path_factory):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("run") / "whole"
    assert main(quick_args(out=out, model=own, **SETTINGS)) == 0
    return out


def test_its_flops_are_counted_by_hand(own, whole):
    model = build_model(own, 10, generator=torch.Generator().manual_seed(3), width=0.5)
    at_32 = 2 * 9 * (3 * 16 * 32**2 + 16 * 32 * 16**2 + 32 * 64 * 8**2) + 2 * 64 * 10
    assert count_flops(model, (3, 32, 32)).forward == at_32
    costs = [count_flops(model, (3, size, size)).step for size in (24, 32)]
    assert read_summary(whole)["flops"] == pytest.approx(50 * (6 * costs[0] + 6 * costs[1]))


def test_its_weights_follow_the_seed_and_no_generator_is_moved(own):
    before = torch.get_rng_state()
    a, b, c = (build_model(own, 10, generator=torch.Generator().manual_seed(seed))[0].weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_a_resumed_run_has_the_same_weights_dropout_included(own, whole, quick_args, tmp_path, monkeypatch, capsys):
    out, before = tmp_path / "run", torch.get_rng_state()

    def stop(self, run):
        if run.ledger.steps == 4:
            run.stop.signal = 15

    with monkeypatch.context() as patch:
        patch.setattr(report.Report, "batch", stop)
        assert main(quick_args(out=out, model=own, **SETTINGS)) == 143
    again = ["--resume", str(out), "--model", own]
    assert f"continue with: {command('train', *again)}" in capsys.readouterr().out
    assert main(again[:2]) == 2
    assert capsys.readouterr().err.endswith(f"as in: {command('train', *again)}\n")
    assert main(again) == 0
    weights = [checkpoint.load(folder / checkpoint.FILE)["model"] for folder in (whole, out)]
    assert all(torch.equal(mine, weights[1][name]) for name, mine in weights[0].items())
    assert torch.equal(before, torch.get_rng_state()), "the caller's generator has moved"


def test_the_other_programs_want_its_name_again(own, whole, tmp_path, capsys):
    for program in (evaluate, export, inspect):
        assert program([str(whole), *([f"--out={tmp_path}"] if program is not evaluate else [])]) == 2
        assert f"then add --model {own}" in capsys.readouterr().err
    assert evaluate([str(whole), f"--model={own}", "--precision=fp32", "--backend=reference"]) == 0
    accuracy = read_summary(whole)["test_accuracy"]
    assert f"test: {100 * accuracy:.2f} % of 200 images" in capsys.readouterr().out
    assert export([str(whole), f"--model={own}", f"--out={tmp_path}"]) == 0
    assert torch.load(tmp_path / "model.pt", weights_only=True)["model"] == own
    assert inspect([str(whole), f"--model={own}", f"--out={tmp_path}", "--backend=reference"]) == 0


MISTAKES = """
import torch
from torch import nn

def fails(num_classes):
    raise KeyError("depth")

def no_module(num_classes):
    return 3

def no_parameters(num_classes):
    return nn.Flatten()

def features(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def two_outputs(num_classes):
    class Net(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1)), 0
    return Net(3 * 32 * 32, num_classes)

def one_size(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

def looks_at_values(num_classes):
    class Net(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1)) * (images.sum().item() + 1)
    return Net(3 * 32 * 32, num_classes)
"""


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("missing", {}, "has no function 'missing'"),
        ("fails", {}, "mine.py, line 6: KeyError: 'depth'"),
        ("no_module", {}, "returned a int, needed: a torch.nn.Module"),
        ("no_parameters", {}, "has no parameter to train"),
        ("features", {}, "made float32 [2, 4] of two images of 32 x 32 pixels, needed: logits, float [2, 10]"),
        ("two_outputs", {}, "made a tuple of two images of 32 x 32 pixels"),
        ("one_size", {"size_schedule": "[24,32]"}, "given images of 24 x 24 pixels: let it take any size, or choose"),
        ("one_size", {"width": 0.5}, "has no parameter named width, so --width 0.5 cannot be met"),
        ("one_size", {"optimizer": "muon"}, "has no convolution filters for Muon: give --optimizer sgd"),
        ("looks_at_values", {}, "the FLOPs of the network cannot be counted"),
    ],
)
def test_a_mistake_is_one_sentence(quick_args, tmp_path, capsys, name, changes, sentence):
    (tmp_path / "mine.py").write_text(MISTAKES)
    model = f"{tmp_path / 'mine.py'}:{name}"
    assert main(quick_args(out=tmp_path / "run", model=model, **{"width": 1, **changes})) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
