"""What a plan needs of a file that is not in memory is asked for ahead of it, and nothing else."""

import itertools
import mmap
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.writers.beton import write_beton
from loaders import EpochPlan, make_loader, open_dataset
from loaders.backends import read_ahead
from loaders.backends.batching import Settings, spans
from loaders.backends.read_ahead import GAP, ReadAhead, ranges

PAGE = mmap.PAGESIZE


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 1 << 17)), min_size=1, max_size=50))
def test_ranges_are_whole_pages_that_cover_every_image_once(images):
    starts, sizes = np.array(images).T
    found = ranges(starts, sizes)
    pages = {page for start, size in images for page in range(start // PAGE, -(-(start + size) // PAGE))}
    covered = [page for first, last in found for page in range(first // PAGE, last // PAGE)]
    assert pages <= set(covered)
    assert len(covered) == len(set(covered))
    assert all(first % PAGE == last % PAGE == 0 for first, last in found)
    assert all(after - before > GAP for (_, before), (after, _) in itertools.pairwise(found))
    for first, last in found:  # no more is read along than gaps
        inside = sorted(page for page in pages if first <= page * PAGE < last)
        assert inside[0] * PAGE == first
        assert (inside[-1] + 1) * PAGE == last
        assert all((b - a - 1) * PAGE <= GAP for a, b in itertools.pairwise(inside))


@pytest.fixture
def cold(tmp_path):
    """A file of 3,000 images of 64 x 64, none of which is in memory."""
    path = tmp_path / "x.beton"
    images = np.random.default_rng(0).integers(0, 256, (3000, 64, 64, 3), np.uint8)
    write_beton(path, images, np.arange(3000))
    dataset = open_dataset(path)
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if resident(dataset, np.arange(3000)).any():
        pytest.skip("this file system keeps its pages in memory")
    return dataset


def resident(dataset, ids):
    base = dataset.data.ctypes.data
    return np.array([read_ahead._is_resident(base + int(start)) for start in dataset.offsets[ids]])


def test_the_images_of_the_next_batches_come_into_memory_and_others_do_not(cold, monkeypatch):
    monkeypatch.setattr(read_ahead, "BLOCK", 1 << 20)
    plan = EpochPlan(np.arange(0, 3000, 30)[np.random.default_rng(1).permutation(100)])  # some 360 KB apart
    todo = spans(plan, cold, Settings(10), 0)
    ahead = ReadAhead(cold, plan, todo)  # 8 batches in a block
    ahead.reach(0)
    deadline = time.monotonic() + 20
    while not resident(cold, plan.ids).all() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert resident(cold, plan.ids).all()
    assert not resident(cold, plan.ids + 15).any()


def test_a_cold_file_is_delivered_as_a_warm_one(cold):
    plan = EpochPlan(np.random.default_rng(2).permutation(3000)[:700], key=5)
    batches = [batch.images.clone() for batch in make_loader(cold.path, 64).epoch(plan)]
    again = [batch.images.clone() for batch in make_loader(cold.path, 64).epoch(plan)]
    assert all((one == two).all() for one, two in zip(batches, again, strict=True))


def test_what_is_in_memory_is_not_asked_for(betons, monkeypatch):
    asked = []
    dataset = open_dataset(betons["square"].path)
    assert dataset.data[::PAGE].sum() > 0  # all pages are in memory now
    monkeypatch.setattr(read_ahead, "ranges", lambda *images: asked.append(images) or [])
    assert sum(len(batch.ids) for batch in make_loader(betons["square"].path, 8)) == 97
    assert asked == []
