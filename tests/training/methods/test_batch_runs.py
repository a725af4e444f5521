"""Whole runs of the methods that choose within a batch: with every mixer, stopped anywhere, on two ranks."""

import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console

from training import checkpoint
from training.arguments import parse_args
from training.data import data_digest
from training.fit import summarise, train
from training.machine.signals import Stopped, StopRequest
from training.methods.batch_rules import NAMES
from training.report import folder as record
from training.run import main
from training.setup import assemble

OPTIONS = {
    "selective-backprop": {"keep": 0.4},
    "ordered-sgd": {},
    "grad-norm": {"tau_threshold": 0.1},
    "random-batch": {},
}
QUICK = {"width": 0.25, "epochs": 2, "budget": 0.4, "eval_every": 0, "backend": "fused", "label_smoothing": 0.0}


@pytest.mark.parametrize("mixer", ["none", "mixup", "cutmix", "ricap"])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_runs_with_every_mixer(quick_args, tmp_path, name, mixer):
    changes = {**QUICK, **OPTIONS[name], "method": name, "mixer": mixer, "clean_fraction": 0.3}
    assert main(quick_args(out=tmp_path / "run", **changes)) == 0
    summary, content = record.read_summary(tmp_path / "run"), checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert summary["steps"] == 2 * (240 // 50)
    shares = content["table"]["total"][:, 0] + content["table"]["epoch"][:, 0]
    assert shares.sum() == pytest.approx(summary["samples"], rel=1e-4)
    assert content["ledger"]["visits"].sum() == summary["samples"]
    scored = summary["forward_samples"] - summary["backward_samples"]
    assert (scored > 0) == (name == "selective-backprop")  # too short a run for grad-norm to begin


class StopEvery(StopRequest):
    """Asks to stop at the `num`-th look at it."""

    def __init__(self, num: int):
        self.left = num

    @property
    def signal(self) -> int | None:
        self.left -= 1
        return signal.SIGTERM if self.left <= 0 else None


def run(arguments: list[str], folder: Path, stop: StopRequest) -> bool:
    """Go on from the folder's checkpoint; whether the run was not stopped."""
    config, _ = parse_args([*arguments, f"--out={folder}"])
    job, state = assemble(config)
    folder.mkdir(exist_ok=True)
    path, digest = folder / record.CHECKPOINT, data_digest(job.manifest)
    if path.exists():
        checkpoint.restore(checkpoint.load(path), state, job.config, digest)
        record.cut_rows(folder, state.epoch)
    try:
        train(job, state, folder, Console(quiet=True), stop)
    except Stopped:
        return False
    summarise(job, state, folder, StopRequest())
    return True


def flat(content: dict | list, name: str = "") -> dict:
    """The numbers and tensors of a checkpoint but its clock, by their path."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = {}
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            found |= flat(value, f"{name}/{key}")
        elif isinstance(value, torch.Tensor | int | float) and not str(key).endswith("_seconds"):
            found[f"{name}/{key}"] = value
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_run_stopped_again_and_again_ends_in_the_same_bits(quick_args, tmp_path, name):
    changes = {**QUICK, "epochs": 4, "method": name, "mixer": "cutmix", "ema": 0.9, "batch_size": 30}
    changes |= {**OPTIONS[name], "budget": 0.5 if name == "grad-norm" else 0.3}
    if name == "grad-norm":
        changes |= {"presample": 2}
    arguments, stops = quick_args(**changes), 0
    assert run(arguments, tmp_path / "whole", StopRequest())
    while not run(arguments, tmp_path / "parts", StopEvery(13)):
        stops += 1
    assert stops > 1
    whole, parts = (flat(checkpoint.load(tmp_path / part / "checkpoint.pt")) for part in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    different = [key for key in whole if not torch.equal(torch.as_tensor(whole[key]), torch.as_tensor(parts[key]))]
    assert not different
    summary = record.read_summary(tmp_path / "whole")
    scored = summary["forward_samples"] - summary["backward_samples"]
    assert (scored > 0) == (name in ("selective-backprop", "grad-norm"))


def test_epochs_without_a_step(quick_args, tmp_path, capsys):
    """Two batches of 50 an epoch, of which a tenth stays: five epochs are one step."""
    changes = {"budget": 0.3, "budget_unit": "flops", "epoch_fraction": 0.17, "epochs": 1, "keep": 0.1}
    assert main(quick_args(out=tmp_path / "run", method="random-batch", eval_every=0, **changes)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert "no step" in lines[0]
    assert "left" not in lines[0]
    assert [row["step"] for row in record.read_rows(tmp_path / "run")][:6] == [0, 0, 0, 0, 1, 1]


def test_options_on_the_command_line(quick_args, tmp_path, capsys):
    assert main(quick_args(method="selective-backprop", budget=1, out=tmp_path / "run")) == 2
    assert "give --keep or a --budget below 1" in capsys.readouterr().err
    assert main(quick_args(method="p-sgd", keep=0.3, out=tmp_path / "run")) == 2
    assert "keep is for selective-backprop, ordered-sgd, random-batch" in capsys.readouterr().err
