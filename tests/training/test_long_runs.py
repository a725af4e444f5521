"""A run of many epochs: memory stays where it was after the first ones."""

import gc
import os
from pathlib import Path

import pytest

from training.report import folder as record
from training.run import main

ALLOWANCE = 8 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_is_flat_over_200_epochs(quick_args, tmp_path, monkeypatch):
    sizes, append_row = [], record.append_row

    def noting(folder, row):
        append_row(folder, row)
        gc.collect()
        sizes.append(resident_bytes())

    monkeypatch.setattr(record, "append_row", noting)
    arguments = quick_args(
        method="p-sgd", budget=0.1, batch_size=30, epochs=200, width=0.25, backend="fused", eval_every=10
    )
    gc.freeze()  # what other tests have left need not be looked through 200 times
    try:
        assert main([*arguments, f"--out={tmp_path / 'run'}"]) == 0
    finally:
        gc.unfreeze()
    assert len(sizes) == 200
    assert max(sizes[150:]) - max(sizes[40:60]) < ALLOWANCE
