"""Trackers get each epoch's numbers: the real Trackio, in a process of its own, with its files in a folder of ours."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from training.report.folder import read_rows
from training.report.numbers import scalars
from training.run import main

ROOT = Path(__file__).parents[3]


def test_numbers_have_flat_names():
    row = {"epoch": 2, "step": 6, "test_loss": None, "visits": {"min": 0.0}, "weights": None}
    assert scalars(row) == {"step": 6, "visits/min": 0.0}


def test_a_missing_tracker_is_one_sentence(quick_args, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    assert main(quick_args(out=tmp_path / "run", tracker="wandb")) == 2
    assert (
        "--tracker wandb needs the package wandb, which is not installed: pip install wandb" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_trackio_has_the_rows(quick_args, tmp_path):
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("needs the extra rebar-loaders[trackio]")
    env = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, "-m", "training.run", *quick_args(out=tmp_path / "run", epochs=2, tracker="trackio")]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    (database,) = (tmp_path / "trackio").rglob("rebar*.db")
    with sqlite3.connect(database) as connection:
        logged = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    rows = read_rows(tmp_path / "run")
    assert [step for _, step, _ in logged] == [1, 2]
    assert all(name.startswith("run-") for name, _, _ in logged)
    assert [json.loads(metrics)["test_accuracy"] for _, _, metrics in logged] == [row["test_accuracy"] for row in rows]
