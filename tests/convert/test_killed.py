"""A conversion that is killed at any instant leaves a whole data set or none, and does not hinder the next one."""

import os
import random  # noqa: TID251 (instants of kills)
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert.verify import verify

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("REBAR_CONVERSION_KILLS", "10"))
SIZES = 3000, 2900  # of the training set: in turn, so that a conversion also meets another data set's files

pytestmark = pytest.mark.slow


def start(root: Path, num_train: int) -> subprocess.Popen:
    command = [sys.executable, ROOT / "convert" / "shapes.py", f"--root={root}", f"--num-train={num_train}"]
    return subprocess.Popen([*command, "--num-test=500"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_killed_at_random_instants(tmp_path):
    began = time.monotonic()
    assert start(tmp_path / "whole", SIZES[0]).wait() == 0
    seconds = time.monotonic() - began
    draw, folder, killed = random.Random(0), tmp_path / "killed" / "shapes", 0
    while killed < KILLS:
        process = start(tmp_path / "killed", SIZES[killed % 2])
        try:
            process.wait(draw.uniform(0, 1.2 * seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.wait()
        if (folder / "manifest.json").exists():
            verify(folder, tmp_path / "sheet.png")
    assert start(tmp_path / "killed", SIZES[0]).wait() == 0
    assert files(folder) == files(tmp_path / "whole" / "shapes")
