"""Runs on a core-set: only its samples are trained on, its cost is charged, and a resumed run keeps it."""

import shutil
import signal

import numpy as np
import pytest
import torch
from rich.console import Console

from loaders.formats.open import open_dataset
from training import checkpoint
from training.arguments import parse_args
from training.coreset.file import Cost, json_path, write_coreset
from training.data.manifest import data_digest, open_manifest
from training.machine.distributed import Ranks
from training.machine.signals import Stopped, StopRequest
from training.report.folder import read_rows, read_summary
from training.run import main, run
from training.setup import set_up

COST = Cost(forward_samples=3000, backward_samples=2000, forward_flops=2e9, backward_flops=3e9, seconds=40.0)


@pytest.fixture(scope="module")
def write(shapes):
    """A function: ids, weights -> a core-set of the tiny `shapes` in a file."""
    manifest = open_manifest(str(shapes))
    labels = open_dataset(shapes / "train.beton").labels
    data = {"name": manifest.name, "num_samples": len(labels), "digest": data_digest(manifest)}

    def written(path, ids, weights=None, cost=COST):
        weights = np.ones(len(ids), np.float32) if weights is None else weights
        per_class = dict(zip(manifest.classes, np.bincount(labels[ids], minlength=10).tolist(), strict=True))
        write_coreset(path, ids, weights, {"method": "craig"}, data, per_class, cost)
        return path

    return written


@pytest.fixture(scope="module")
def coreset(write, tmp_path_factory):
    """A file with every fourth sample, the second half of which weighs three times as much."""
    weights = np.repeat(np.float32([0.5, 1.5]), 75)
    return write(tmp_path_factory.mktemp("coreset") / "some.npz", np.arange(0, 600, 4), weights)


@pytest.fixture(scope="module")
def finished(quick_args, coreset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(quick_args(out=folder, coreset=coreset, eval_every=0)) == 0
    return folder


def test_only_its_samples_are_trained_on_and_the_steps_stay(finished):
    visits = checkpoint.load(finished / "checkpoint.pt")["table"]["total"][:, 0].numpy()
    assert visits.sum() == 3 * 300
    assert set(np.flatnonzero(visits)) == set(range(0, 600, 4))
    assert (visits[::4] == 3 * 2).all(), "300 samples an epoch are two passes over 150"


def test_the_cost_is_charged_and_told(finished, coreset, quick_args, tmp_path, capsys):
    summary = read_summary(finished)
    assert (summary["forward_samples"], summary["backward_samples"]) == (900 + 3000, 900 + 2000)
    assert (summary["coreset_flops"], summary["coreset_seconds"]) == (5e9, 40)
    assert summary["coreset"]["file"] == str(coreset)
    assert (summary["coreset"]["method"], summary["coreset"]["num_ids"]) == ("craig", 150)
    assert main(quick_args(out=tmp_path / "plain", eval_every=0)) == 0
    plain = read_summary(tmp_path / "plain")
    assert "coreset" not in plain
    assert summary["flops"] == plain["flops"] + 5e9
    assert summary["train_seconds"] > 40
    assert summary["images_per_second"] == pytest.approx(900 / (summary["train_seconds"] - 40))
    capsys.readouterr()
    assert main(["--resume", str(finished)]) == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "150 samples by craig" in out
    assert "took 0.01 TFLOP and 40.0 s" in out
    assert read_rows(finished)[0]["coreset_seconds"] == 40


def test_a_budget_of_flops_pays_for_it(coreset, write, quick_args, tmp_path, capsys):
    def trained(name, **changes) -> dict:
        settings = {"budget_unit": "flops", "budget": 0.5, "epoch_fraction": 0.5, "eval_every": 0, **changes}
        assert main(quick_args(out=tmp_path / name, **settings)) == 0
        return read_summary(tmp_path / name)

    plain = trained("plain")
    paid = trained("paid", coreset=coreset)
    step = plain["flops"] / plain["steps"]
    assert plain["steps"] == 18
    assert paid["steps"] == (18 * step - 5e9) // step
    assert 18 * step - step < paid["flops"] <= 18 * step
    assert "paid from the budget" in " ".join(capsys.readouterr().out.split())

    begun = set_up(parse_args(quick_args(budget_unit="flops", budget=0.5, coreset=coreset))[0])
    assert begun.progress == 0, "rates begin at their full height"
    begun.ledger.flops = begun.budget.total
    assert begun.progress == 1

    dear = write(tmp_path / "dear.npz", np.arange(150), cost=Cost(1, 1, 1e15, 1e15, 1.0))
    assert main(quick_args(budget_unit="flops", budget=0.5, coreset=dear, out=tmp_path / "dear")) == 2
    assert "of the budget and leaves no step: raise the budget or" in capsys.readouterr().err


def test_a_budget_of_seconds_pays_for_it(coreset, quick_args, tmp_path, capsys):
    arguments = {"budget_unit": "seconds", "coreset": coreset, "eval_every": 0, "out": tmp_path / "run"}
    assert main(quick_args(**arguments, budget=40)) == 2
    assert "the core-set cost 1.00 of the budget" in capsys.readouterr().err
    assert main(quick_args(**arguments, budget=40.5)) == 0
    summary = read_summary(tmp_path / "run")
    assert summary["steps"] >= 1
    assert summary["train_seconds"] > 40


def test_its_weights_reach_the_loss(coreset, quick_args):
    begun = set_up(parse_args(quick_args(coreset=coreset))[0])
    plan = begun.method.plan(0)
    np.testing.assert_array_equal(plan.weights, np.where(plan.ids < 300, np.float32(0.5), np.float32(1.5)))
    batch = next(iter(begun.data.train_loader.epoch(plan)))
    np.testing.assert_array_equal(batch.weights.numpy(), plan.weights[:50])


class StopAfter(StopRequest):
    """A signal that arrives at the given look at it."""

    def __init__(self, looks: int):
        self.looks = looks

    @property
    def signal(self):
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None


@pytest.fixture(scope="module")
def stopped(quick_args, coreset, tmp_path_factory):
    """A run stopped in the middle of its second epoch, beside a copy of its core-set."""
    folder = tmp_path_factory.mktemp("stopped")
    for path in (coreset, json_path(coreset)):
        shutil.copy(path, folder)
    config, _ = parse_args(quick_args(out=folder / "run", coreset=folder / coreset.name, eval_every=0))
    with pytest.raises(Stopped):
        run(config, None, Console(quiet=True), StopAfter(12), Ranks())
    content = checkpoint.load(folder / "run" / "checkpoint.pt")
    assert 0 < content["batch"] < 6
    assert content["plan"] is not None
    return folder


def test_a_resumed_run_ends_in_the_same_bits(stopped, finished, tmp_path):
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    assert main([f"--resume={folder}"]) == 0
    ends = [checkpoint.load(path / "checkpoint.pt") for path in (finished, folder)]
    assert all(torch.equal(value, ends[1]["model"][name]) for name, value in ends[0]["model"].items())
    assert torch.equal(*(end["table"]["total"] for end in ends))
    assert ends[0]["ledger"]["flops"] == ends[1]["ledger"]["flops"]


def test_a_changed_core_set_is_refused(stopped, write, tmp_path, capsys):
    path = stopped / "some.npz"
    kept = [file.read_bytes() for file in (path, json_path(path))]
    write(path, np.arange(0, 600, 4))  # the same samples, other weights
    assert main([f"--resume={stopped / 'run'}"]) == 2
    err = capsys.readouterr().err
    assert f"{path} is another core-set than the checkpoint's" in err
    assert err.count("\n") == 1
    for file, content in zip((path, json_path(path)), kept, strict=True):
        file.write_bytes(content)
    assert main([f"--resume={stopped / 'run'}", "--coreset=other.npz"]) == 2
    assert "cannot read the core-set other.npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.unlink(), "cannot read the core-set"),
        (lambda path: json_path(path).unlink(), "cannot read the core-set"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is not a core-set (cut short"),
        (lambda path: json_path(path).write_text("{}"), "is not a core-set's manifest"),
    ],
)
def test_a_core_set_that_will_not_do(quick_args, coreset, tmp_path, capsys, spoil, sentence):
    for path in (coreset, json_path(coreset)):
        shutil.copy(path, tmp_path)
    path = tmp_path / coreset.name
    spoil(path)
    assert main(quick_args(out=tmp_path / "run", coreset=path)) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_core_set_of_other_data(quick_args, coreset, tmp_path, capsys):
    text = json_path(coreset).read_text()
    shutil.copy(coreset, tmp_path)
    json_path(tmp_path / coreset.name).write_text(text.replace(text.split('"digest": "')[1][:64], "0" * 64))
    assert main(quick_args(out=tmp_path / "run", coreset=tmp_path / coreset.name)) == 2
    assert "is of other data (shapes) than --data holds" in capsys.readouterr().err
