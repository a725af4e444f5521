"""Work in blocks: each once, on however many threads, with OpenMP or without, compiled once for all processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from training.cpu import team
from training.cpu.lanes import every, load, store

ROOT = Path(__file__).resolve().parents[3]


@team.block_of_work
def count(dtype, block, scratch, numbers):
    """Adds 1 to the sixteen numbers of a block, by way of the scratch memory."""
    (at,) = team.unpack(numbers, 1)
    store(scratch, load(at + 64 * block) + every(1.0))
    store(at + 64 * block, load(scratch))


@pytest.mark.parametrize("has_openmp", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_block_once(threads, has_openmp, monkeypatch):
    if not has_openmp:
        monkeypatch.setattr(team, "_parallel", lambda: None)
    elif sys.platform == "linux":
        assert team._parallel() is not None
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for num_blocks in (1, 3, 1000):
            numbers = np.zeros((num_blocks, 16), np.float32)
            team.run(count, torch.float32, num_blocks, numbers.ctypes.data, scratch=64)
            assert (numbers == 1).all()
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    code = "import torch; from training.cpu.max_pool import max_pool; max_pool(torch.ones(1, 16, 3, 3))"
    places = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, **places},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    ]
    assert "data saved to" in said[0]
    assert "data saved to" not in said[1]
    assert "data loaded from" in said[1]
