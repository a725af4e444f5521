"""Leaving an epoch early, a thousand times: no thread, no open file and no memory is left behind."""

import gc
import os
import threading
import time

import numpy as np
import pytest

from loaders import Augment, EpochPlan, make_loader

FLIP, RESIZE = Augment(flip=True), Augment(resize=16, random_resized_crop=(0.3, 1.0))
DALI, FFCV = pytest.mark.dali, pytest.mark.ffcv
PLAN = EpochPlan(np.arange(40), key=3)
SETTLED, WHOLE = 100, 1000
ALLOWANCE = 4e6  # bytes; what one epoch leaves behind is seen from 5 kB on


def held() -> tuple[int, ...]:
    """Threads of Python, threads of all kinds, open files, when all that nobody refers to is gone.

    The threads of epochs that were left end by themselves, a moment later: this is the least seen in half a second.
    """
    gc.collect()
    counts = []
    for _ in range(50):
        counts.append((threading.active_count(), *(len(os.listdir(f"/proc/self/{what}")) for what in ("task", "fd"))))
        time.sleep(0.01)
    return min(counts)


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leave_early(loader, how: int) -> None:
    """After no, one or two batches; by closing the iterator, or by dropping it."""
    batches = loader.epoch(PLAN)
    for _, _batch in zip(range(how % 3), batches, strict=False):
        pass
    if how % 2:
        batches.close()


@pytest.mark.parametrize(
    ("backend", "file", "augment"),
    [
        pytest.param("fused", "square", FLIP),
        pytest.param("ffcv", "square", FLIP, marks=[FFCV, pytest.mark.slow]),
        pytest.param("ffcv", "jpeg", FLIP, marks=FFCV),
        pytest.param("dali", "square", FLIP, marks=[DALI, pytest.mark.slow]),
        pytest.param("dali", "square", RESIZE, marks=[DALI, pytest.mark.slow]),
        pytest.param("dali", "jpeg", FLIP, marks=[DALI, pytest.mark.slow]),
    ],
)
@pytest.mark.parametrize("whole", [2 * SETTLED, pytest.param(WHOLE, marks=pytest.mark.slow)])
def test_a_thousand_early_exits(betons, backend, file, augment, whole):
    loader = make_loader(betons[file].path, 4, backend=backend, augment=augment)
    first = [batch.images.clone() for batch in loader.epoch(PLAN)]
    for how in range(SETTLED):
        leave_early(loader, how)
    before, resident = held(), resident_bytes()
    for how in range(SETTLED, whole):
        leave_early(loader, how)
    assert held() == before
    assert resident_bytes() - resident < ALLOWANCE
    for batch, images in zip(loader.epoch(PLAN), first, strict=True):
        assert batch.images.equal(images)


@pytest.mark.parametrize(
    ("backend", "file"),
    [
        pytest.param("fused", "square"),
        pytest.param("ffcv", "jpeg", marks=FFCV),
        pytest.param("dali", "jpeg", marks=DALI),
    ],
)
@pytest.mark.slow
def test_epochs_that_end_leave_nothing_behind_either(betons, backend, file):
    loader, short = make_loader(betons[file].path, 4, backend=backend, augment=FLIP), EpochPlan(np.arange(6))
    for _ in range(SETTLED):
        list(loader.epoch(short))
    before, resident = held(), resident_bytes()
    for _ in range(SETTLED, WHOLE):
        list(loader.epoch(short))
    assert held() == before
    assert resident_bytes() - resident < ALLOWANCE
