"""The command as a user runs it: real trainings, real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from training.compare.command import main
from training.compare.store import Store
from training.compare.study import make_study

REPEAT = ("train_seconds", "data_seconds", "plan_seconds", "scoring_seconds", "images_per_second", "name", "threads")


@pytest.fixture
def study_file(tmp_path, shapes):
    """A study of four runs of a second or two each."""
    values = {
        "name": "tiny",
        "settings": {
            "data": str(shapes), "model": "resnet8", "width": 0.5, "optimizer": "sgd", "lr": 0.05, "ema": 0.0,
            "batch_size": 50, "epochs": 3, "size_schedule": [], "backend": "reference",
        },
        "methods": {"uniform": {}, "p-sgd sharp": {"method": "p-sgd", "smoothing": 0.1, "score": "average"}},
        "budgets": [0.5],
        "seeds": 2,
    }  # fmt: skip
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def results(folder):
    """What came of each cell, without what a clock has measured."""
    found = {}
    for path in sorted((folder / "done").glob("*.json")):
        values = json.loads(path.read_text())
        values["summary"] = {key: some for key, some in values["summary"].items() if key not in REPEAT}
        found[path.stem] = values
    return found


def start(*words):
    """The command on one core: two runs are equal to the bit on the same number of threads."""
    command = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), sys.executable, "-m", "training.compare"]
    return subprocess.Popen(
        [*command, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_study_runs_is_told_and_does_not_run_again(study_file, tmp_path, capsys):
    folder = tmp_path / "out"
    with start(study_file, "--out", folder, "--workers", 2) as process:
        told = process.communicate(timeout=300)[0]
    assert process.returncode == 0, told
    assert "4 of 4 runs are left, 2 at a time" in told
    assert "[4/4]" in told
    first = results(folder)
    assert len(first) == 4
    assert all(0 < values["accuracy"] < 1 for values in first.values())
    assert not list((folder / "runs").glob("*/checkpoint.pt"))
    cell = make_study(yaml.safe_load(study_file.read_text())).cells[1]
    left = {path.name for path in (folder / "runs" / cell.name).iterdir()}
    assert {"config.yaml", "metrics.jsonl", "summary.json"} <= left
    assert main([str(folder)]) == 0
    told = capsys.readouterr().out
    assert "all 4 runs are done" in told
    assert "hether choosing samples pays" in told
    assert f"report: {folder / 'report.html'}" in told
    page = (folder / "report.html").read_text("utf-8")
    assert all(cell in page for cell in first)
    assert {path.name for path in folder.glob("results.*")} == {"results.csv", "results.parquet"}
    assert results(folder) == first
    assert main([str(folder), "--status"]) == 0
    assert "4 of 4 runs are done" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_study_goes_on_to_the_same_results(study_file, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main([str(study_file), "--out", str(whole), "--worker"]) == 0
    with start(study_file, "--out", stopped, "--workers", 1) as process:
        while not list((stopped / "runs").glob("*/metrics.jsonl")):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=100)[0]
    assert process.returncode == 143, told
    assert f"-m training.compare {stopped}" in told
    assert not list((stopped / "running").glob("*.json"))
    assert main([str(stopped), "--worker"]) == 0
    assert results(stopped) == results(whole)


@pytest.mark.slow
def test_a_study_killed_at_ten_instants_ends_with_the_same_table(study_file, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([str(study_file), "--out", str(whole), "--worker"]) == 0
    for instant in range(10):
        with start(study_file, "--out", killed, "--worker") as process:
            time.sleep(2 + 0.9 * instant)
            os.killpg(process.pid, signal.SIGKILL)
    assert main([str(killed), "--worker"]) == 0
    assert results(killed) == results(whole)


@pytest.mark.slow
def test_workers_stop_when_the_command_that_started_them_is_killed(study_file, tmp_path):
    folder = tmp_path / "out"
    with start(study_file, "--out", folder, "--workers", 2) as process:
        while len(list((folder / "runs").glob("*/metrics.jsonl"))) < 2:
            time.sleep(0.01)
        process.kill()
    deadline = time.monotonic() + 60
    while list((folder / "running").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list((folder / "running").glob("*.json"))


@pytest.mark.slow
def test_workers_on_a_local_ray(study_file, tmp_path):
    pytest.importorskip("ray", reason="needs Ray: pip install ray")
    folder = tmp_path / "out"
    with start(study_file, "--out", folder, "--launcher", "ray", "--workers", 1) as process:
        told = process.communicate(timeout=300)[0]
    assert process.returncode == 0, told
    assert len(results(folder)) == 4


def test_the_status_tells_how_far_the_running_cells_are(study_file, tmp_path, capsys):
    study = make_study(yaml.safe_load(study_file.read_text()))
    store = Store(tmp_path / "out", study)
    store.begin(yaml.safe_load(study_file.read_text()))
    with store.claim() as cell:
        folder = store.run_folder(cell)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
        assert main([str(tmp_path / "out"), "--status"]) == 0
    assert "running: uniform, standard, budget 0.5, seed 0: 2 of 3 epochs" in capsys.readouterr().out


def test_a_diverged_run_is_an_outcome(study_file, tmp_path, capsys):
    values = yaml.safe_load(study_file.read_text())
    values |= {"methods": ["uniform"], "seeds": 1, "settings": {**values["settings"], "lr": 1e30}}
    study_file.write_text(yaml.safe_dump(values, sort_keys=False))
    assert main([str(study_file), "--out", str(tmp_path / "out"), "--worker"]) == 0
    assert "failed: training has diverged in epoch 1" in capsys.readouterr().out
    (outcome,) = Store(tmp_path / "out", make_study(values)).outcomes()
    assert (outcome.status, outcome.accuracy) == ("failed", None)
    assert not [*(tmp_path / "out" / "runs").glob("*/checkpoint.pt"), *(tmp_path / "out" / "runs").glob("*/history.u8")]


def test_a_cell_that_cannot_begin_is_given_back_and_the_sentence_names_it(study_file, tmp_path, capsys):
    values = yaml.safe_load(study_file.read_text())
    values["settings"]["data"] = str(tmp_path / "nowhere")
    study_file.write_text(yaml.safe_dump(values, sort_keys=False))
    assert main([str(study_file), "--out", str(tmp_path / "out"), "--worker"]) == 2
    assert "error: uniform, standard, budget 0.5, seed 0: " in capsys.readouterr().err
    assert Store(tmp_path / "out", make_study(values)).counts() == {"done": 0, "running": 0, "todo": 4}


@pytest.mark.slow
def test_a_grid_from_the_command_line(shapes, tmp_path, capsys):
    words = ["--methods", "uniform", "p-sgd", "--mixers", "none", "ricap", "--budgets", "0.1", "0.3", "--seeds", "2"]
    words += ["--data", str(shapes), "--epochs", "3", "--model", "resnet8", "--size_schedule", "[]", "--batch-size=50"]
    assert main([*words, "--out", str(tmp_path / "out"), "--dry-run", "--workers", "2"]) == 0
    told = capsys.readouterr().out
    assert "16 runs" in told
    assert "with 2 workers here" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give a study file, or at least --methods"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["--methods", "uniform", "--budgets", "two"], "invalid float value: 'two'"),
        (["--methods", "uniform", "--workers", "0"], "--workers must be at least 1"),
        (["--methods", "uniform", "--gpus", "0.25"], "--gpus 0.25 is for workers that Ray starts: add --launcher ray"),
        (["--methods", "uniform", "--epoch", "3"], "unknown setting 'epoch': did you mean 'epochs'"),
        (["--methods", "psgd", "--controls", "--data", "nowhere"], "'psgd' is no method"),
        (["--methods", "uniform", "--seed", "3"], "--seed is of one run: a study has --seeds"),
        (["--methods", "uniform", "--mixer=ricap"], "--mixer is of one run: a study has --mixers"),
        (["--methods", "uniform", "--epochs"], "--epochs needs a value"),
        (["--status", "--report", "--methods", "uniform"], "not allowed with argument"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
