"""A file that is cut or replaced under an open loader ends the epoch in a sentence, and not the program in SIGBUS."""

import os
import shutil

import numpy as np
import pytest

from loaders import EpochPlan, make_loader

BACKENDS = [
    ("square", "reference"),
    ("square", "fused"),
    pytest.param("jpeg", "ffcv", marks=pytest.mark.ffcv),
    pytest.param("jpeg", "dali", marks=pytest.mark.dali),
]
PLAN = EpochPlan(np.arange(20))


@pytest.fixture
def path(betons, tmp_path, request):
    kind = request.node.callspec.params["kind"] if hasattr(request.node, "callspec") else "square"
    return shutil.copy(betons[kind].path, tmp_path / "x.beton")


@pytest.mark.parametrize(("kind", "backend"), BACKENDS)
def test_cut_before_an_epoch(path, kind, backend):
    loader = make_loader(path, 8, backend=backend, num_threads=1)
    assert len(list(loader.epoch(PLAN))) == 3
    size = os.path.getsize(path)
    os.truncate(path, 100)
    with pytest.raises(ValueError, match=rf"x\.beton was cut from {size:,} to 100 bytes while it was read: convert"):
        list(loader.epoch(PLAN))


@pytest.mark.parametrize(("kind", "backend"), BACKENDS)
def test_replaced_before_an_epoch(path, kind, backend, tmp_path):
    loader = make_loader(path, 8, backend=backend, num_threads=1)
    os.replace(shutil.copy(path, tmp_path / "other"), path)
    with pytest.raises(ValueError, match=r"x\.beton was replaced by another file while it was read: start again"):
        list(loader.epoch(PLAN))


def test_cut_between_two_batches(path):
    """By the reference, which reads nothing ahead."""
    batches = make_loader(path, 8, backend="reference").epoch(PLAN)
    next(batches)
    os.truncate(path, 100)
    with pytest.raises(ValueError, match="was cut from"):
        next(batches)


def test_a_file_that_is_deleted_stays_readable(path):
    loader = make_loader(path, 8, backend="fused")
    os.unlink(path)
    assert len(list(loader.epoch(PLAN))) == 3


@pytest.mark.parametrize(("kind", "backend"), BACKENDS)
def test_a_batch_size_beyond_the_data_takes_no_memory(path, kind, backend):
    """Memory goes by the longest batch of the plan: 2^50 images would not fit anywhere."""
    loader = make_loader(path, 1 << 50, backend=backend)
    for num in (20, 30, 5):
        assert [len(batch.ids) for batch in loader.epoch(EpochPlan(np.arange(num)))] == [num]


@pytest.mark.dali
@pytest.mark.parametrize("kind", ["jpeg"])
def test_dali_refuses_batches_that_do_not_fit_into_memory(path, kind, monkeypatch):
    """Two batches of eight images of 24 x 40 pixels are decoded at once: 46,080 bytes."""
    for memory, fits in ((92_160, True), (92_158, False)):
        monkeypatch.setattr("loaders.backends.dali.machine_memory", lambda memory=memory: memory)
        loader = make_loader(path, 8, backend="dali")
        if fits:
            assert len(list(loader.epoch(PLAN))) == 3
        else:
            with pytest.raises(ValueError, match=r"x\.beton: the images of a batch take .* lower batch_size"):
                list(loader.epoch(PLAN))
