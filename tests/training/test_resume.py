"""A run that is stopped or killed anywhere ends, once resumed, in the bits of an uninterrupted one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")


def test_killed_at_25_instants(quick_args, tmp_path):
    changes = {"method": "p-sgd", "budget": 0.2, "batch_size": 20, "epochs": 4, "eval_every": 2}
    changes |= {"mixer": "cutmix", "clean_fraction": 0.4, "ema": 0.9}
    changes |= {
        "model": "rebarnet",
        "optimizer": "muon",
        "width": 0.125,
        "size_schedule": "[16, 16, 20]",
        "backend": "auto",
    }
    root = Path(__file__).parents[2]
    command = [sys.executable, Path(__file__).with_name("forks.py"), tmp_path, *quick_args(**changes)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    assert done.returncode == 0, done.stdout + "".join(log.read_text() for log in tmp_path.glob("*.log"))
