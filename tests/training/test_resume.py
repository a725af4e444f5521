"""A run that is stopped or killed anywhere ends, once resumed, in the bits of an uninterrupted one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")


CHANGES = {
    "method": "p-sgd",
    "budget": 0.2,
    "batch_size": 20,
    "epochs": 4,
    "eval_every": 2,
    "mixer": "cutmix",
    "flip": "alternating",
    "clean_fraction": 0.4,
    "ema": 0.9,
    "model": "rebarnet",
    "optimizer": "muon",
    "width": 0.125,
    "size_schedule": "[16, 16, 20]",
    "backend": "auto",
}


KILLS = int(os.environ.get("REBAR_TRAINING_KILLS", "25"))


@pytest.mark.parametrize(
    ("saving", "anywhere"), [(1, 2), pytest.param(KILLS // 5, KILLS - KILLS // 5, marks=pytest.mark.slow)]
)
def test_stopped_and_killed(quick_args, tmp_path, saving, anywhere):
    """By SIGTERM, by Ctrl-C, by SIGKILL while a checkpoint is written, and by SIGKILL at random instants."""
    root, script = Path(__file__).parents[2], Path(__file__).with_name("forks.py")
    command = [sys.executable, script, tmp_path, str(saving), str(anywhere), *quick_args(**CHANGES)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600 + 20 * anywhere
    )
    assert done.returncode == 0, done.stdout + "".join(log.read_text() for log in tmp_path.glob("*.log"))
