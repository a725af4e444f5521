"""The ring end to end on `shapes`: what a run leaves behind and what a person reads."""

import json
import random  # noqa: TID251 (its state is watched)
import signal

import matplotlib.image
import numpy as np
import pytest
import torch
import yaml

from training import checkpoint, loop
from training.config import FIELDS
from training.report import folder as record
from training.run import main

METHODS = ("uniform", "p-sgd", "c-sgd")


@pytest.fixture(scope="module")
def runs(quick_args, tmp_path_factory):
    """A finished run's folder by method."""
    folders = {method: tmp_path_factory.mktemp("runs") / method for method in METHODS}
    for method, folder in folders.items():
        assert main(quick_args(method=method, out=folder, tta="true")) == 0
    return folders


def visits_of(folder) -> torch.Tensor:
    """How often each sample was trained on, from the table in a run's checkpoint."""
    table = checkpoint.load(folder / "checkpoint.pt")["table"]
    return table["total"][:, 0] + table["epoch"][:, 0]


@pytest.mark.parametrize("method", METHODS)
def test_summary_counts_what_the_budget_buys(runs, method):
    summary = record.read_summary(runs[method])
    assert summary["method"] == method
    assert summary["budget"] == 0.5
    assert summary["steps"] == 3 * 6
    counts = ("samples", "forward_samples", "backward_samples")
    assert [summary[name] for name in counts] == [900, 900, 900]
    assert 300 < summary["distinct_samples"] <= 600
    assert 0 <= summary["test_accuracy"] <= 1
    assert 0 <= summary["test_accuracy_tta"] <= 1
    parts = [summary[f"{name}_seconds"] for name in ("data", "plan", "scoring")]
    assert min(parts) >= 0
    assert 0 < sum(parts) < summary["train_seconds"]
    assert summary["images_per_second"] == pytest.approx(900 / summary["train_seconds"])
    assert summary["precision"] in ("fp32", "bf16")
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["processor"]


def test_methods_visit_differently(runs):
    spread = {method: record.read_summary(folder)["visits"] for method, folder in runs.items()}
    for method in ("p-sgd", "c-sgd"):
        assert spread[method]["entropy"] != spread["uniform"]["entropy"]
        assert spread[method]["cv"] != spread["uniform"]["cv"]
    visits = {method: visits_of(folder) for method, folder in runs.items()}
    assert all(counts.sum() == 900 for counts in visits.values())
    assert not torch.equal(visits["p-sgd"], visits["c-sgd"])


@pytest.mark.parametrize("method", METHODS)
def test_the_summary_tells_the_visits_that_the_table_has_counted(runs, method):
    summary, visits = record.read_summary(runs[method]), visits_of(runs[method])
    assert torch.equal(visits, visits.round()), "whole visits, where nothing is mixed"
    assert summary["distinct_samples"] == (visits > 0).sum()
    assert (summary["visits"]["min"], summary["visits"]["max"]) == (visits.min(), visits.max())


def test_one_row_per_epoch(runs):
    rows = record.read_rows(runs["uniform"])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["samples"] for row in rows] == [300, 600, 900]
    assert rows[-1]["test_accuracy"] == record.read_summary(runs["uniform"])["test_accuracy"]


def test_config_is_resolved_and_makes_the_same_run_again(runs, tmp_path):
    settings = yaml.safe_load((runs["uniform"] / "config.yaml").read_text())
    assert settings.keys() == {*FIELDS, "design"} - {"out"}
    assert "auto" not in (settings["device"], settings["precision"])
    assert settings["mean"] is None, "as the data say it"
    summary = record.read_summary(runs["uniform"])
    assert (summary["design"], summary["options"]) == ("race", {"design": "race"})
    other = ["--config", str(runs["uniform"] / "config.yaml"), "--method", "c-sgd", "--epochs", "1"]
    assert main([*other, "--out", str(tmp_path / "other")]) == 0
    assert record.read_summary(tmp_path / "other")["method"] == "c-sgd"
    assert main(["--config", str(runs["uniform"] / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    first, again = (checkpoint.load(folder / "checkpoint.pt") for folder in (runs["uniform"], tmp_path / "again"))
    assert all(torch.equal(value, again["model"][name]) for name, value in first["model"].items())


def test_curve_is_an_image(runs):
    assert np.ptp(matplotlib.image.imread(runs["uniform"] / "curve.png")) > 0


def test_what_a_person_reads(quick_args, tmp_path, capsys):
    assert main(quick_args(out=tmp_path / "run", epochs=2, eval_every=0)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("precision ")
    first, last = (next(line for line in lines if line.startswith(f"epoch {n}/2")) for n in (1, 2))
    assert "step 6/12" in first
    assert "left" in first
    assert "test" not in first
    assert "test" in last
    for label in ("budget", "samples", "distinct samples", "steps", "images/s", "visits", "test accuracy"):
        assert any(label in line for line in lines), label


def test_new_runs_get_new_folders(quick_args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = quick_args(epochs=1, eval_every=0, budget=0.1)
    assert [main(arguments), main(arguments)] == [0, 0]
    name = "shapes-uniform-b0.1-s0"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [name, f"{name}-2"]


def test_no_global_generator_is_touched(quick_args, tmp_path):
    def states():
        return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002

    before = states()
    assert main(quick_args(out=tmp_path / "run", epochs=1, method="p-sgd")) == 0
    assert states() == before


def test_seed_decides_everything(quick_args, tmp_path):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(quick_args(out=tmp_path / name, epochs=1, seed=seed, eval_every=0)) == 0
        weights.append(checkpoint.load(tmp_path / name / "checkpoint.pt")["model"]["head.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_finished_run_is_told_again_when_resumed(runs, capsys):
    before = (runs["uniform"] / "summary.json").read_bytes()
    assert main(["--resume", str(runs["uniform"])]) == 0
    assert "finished already" in capsys.readouterr().out
    assert (runs["uniform"] / "summary.json").read_bytes() == before


def test_json_is_plain(runs):
    text = (runs["c-sgd"] / "summary.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["name"] == "c-sgd"


def test_a_run_that_is_stopped_while_it_is_tested_keeps_what_its_epoch_has_told(quick_args, tmp_path, monkeypatch):
    """The checkpoint holds the scores of that epoch already: the resumed run finds no new visits in the table."""
    evaluate_run = loop.evaluate_run

    def stopped_in_the_second_epoch(run):
        run.stop.signal = signal.SIGTERM if run.epoch == 1 else None
        return evaluate_run(run)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(quick_args(method="p-sgd", out=whole)) == 0
    with monkeypatch.context() as patched:
        patched.setattr(loop, "evaluate_run", stopped_in_the_second_epoch)
        assert main(quick_args(method="p-sgd", out=stopped)) == 143
    assert [row["epoch"] for row in record.read_rows(stopped)] == [1]
    assert main(["--resume", str(stopped)]) == 0
    rows = [
        [{key: value for key, value in row.items() if "second" not in key} for row in record.read_rows(folder)]
        for folder in (whole, stopped)
    ]
    assert rows[0] == rows[1]
    histories = [(folder / "history.u8").read_bytes() for folder in (whole, stopped)]
    assert histories[0] == histories[1]
