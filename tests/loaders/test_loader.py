"""Putting a loader together: its own plans, its length, and one clear sentence for each thing that cannot be."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import loaders
from loaders import Augment, EpochPlan, ImportanceTable, IndexScheduler, Scores, make_loader, open_dataset

FFCV, DALI = pytest.param("ffcv", marks=pytest.mark.ffcv), pytest.param("dali", marks=pytest.mark.dali)


def test_a_loader_draws_its_own_plans(betons):
    loader = make_loader(betons["square"].path, 10, dtype=torch.uint8)
    assert len(loader) == 10
    first, second = ([i for batch in loader for i in batch.ids.tolist()] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(97))
    assert first != second
    assert len(make_loader(betons["square"].path, 10, drop_last=True)) == 9


def test_a_scheduler_and_a_table_decide_the_order(betons):
    scheduler, table = IndexScheduler(97, "p-sgd", budget=0.3, seed=5, batch_size=7), ImportanceTable(97)
    loader = make_loader(betons["square"].path, 7, scheduler=scheduler, table=table)
    assert len(loader) == 4
    error = torch.rand(97, generator=torch.Generator().manual_seed(0))
    table.record(torch.arange(97), Scores(error, error, error))
    snapshot = table.snapshot()
    for epoch in range(2):
        drawn = [i for batch in loader for i in batch.ids.tolist()]
        assert drawn == scheduler.plan(epoch, snapshot).ids.tolist()


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_sequence_is_the_order_of_the_file_in_each_epoch(betons, drop_last):
    loader = make_loader(betons["square"].path, 10, dtype=torch.uint8, sequential=True, drop_last=drop_last)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == (9 if drop_last else 10)
        assert [i for batch in batches for i in batch.ids.tolist()] == list(range(90 if drop_last else 97))
    first, last = batches[0].images, betons["square"].images[:10]
    assert np.array_equal(first.permute(0, 2, 3, 1).numpy(), last)


@pytest.mark.ffcv
def test_auto_takes_the_fused_backend_for_raw_pixels(betons, monkeypatch):
    chosen = []
    real = importlib.import_module
    monkeypatch.setattr("importlib.import_module", lambda name, *package: chosen.append(name) or real(name, *package))
    make_loader(betons["square"].path, 4)
    make_loader(betons["jpeg"].path, 4)
    assert [name for name in chosen if ".backends." in name] == [".backends.fused", ".backends.native"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backend": "turbo"},
            "unknown backend 'turbo': choose one of auto, fused, native, ffcv, dali, gpu, nvimgcodec, reference",
        ),
        ({"device": "tpu9"}, "unknown device 'tpu9'"),
        ({"device": "meta"}, "device 'meta' is not supported"),
        ({"dtype": torch.int64}, "dtype is one of torch.uint8, torch.float32, .* got torch.int64"),
        ({"batch_size": 0}, "batch_size is a number of samples >= 1, got 0"),
        ({"batch_size": 2.5}, "batch_size is a number of samples >= 1, got 2.5"),
        ({"num_threads": 0}, "num_threads is at least 1"),
        ({"batch_transform": 3}, r"batch_transform is a function \(batch, key\) -> Batch, got 3"),
        ({"scheduler": IndexScheduler(97), "sequential": True}, "sequential=True is an order of its own"),
        ({"scheduler": IndexScheduler(5)}, "the scheduler is for 5 samples, .* has 97"),
        ({"augment": Augment(mean=(0.5,), std=(1.0,))}, "mean and std need 3 values"),
        (
            {"augment": Augment(crop_padding=32, pad_mode="reflect")},
            "reflecting 32 pixels needs a larger image than 32 x 32",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(betons, options, message):
    with pytest.raises(ValueError, match=message):
        make_loader(betons["square"].path, **{"batch_size": 8, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device(betons):
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        make_loader(betons["square"].path, 8, device="cuda")


@pytest.mark.parametrize("backend", ["fused", FFCV, "reference", DALI])
def test_a_plan_that_does_not_fit_is_refused_before_the_epoch(betons, backend):
    loader = make_loader(betons["square"].path, 8, backend=backend, drop_last=True)
    for bad in (97, -1, 2**40):
        with pytest.raises(ValueError, match=rf"the plan's id {bad} at position 2 is not in 0\.\.96"):
            loader.epoch(EpochPlan(np.array([3, 4, bad, 5, 6, 7, 8, 9])))
    with pytest.raises(ValueError, match="a batch of 8 is larger than the plan of 7 samples"):
        loader.epoch(EpochPlan(np.arange(7)))
    with pytest.raises(ValueError, match="start_batch is 3, the plan has 2 batches"):
        loader.epoch(EpochPlan(np.arange(16)), start_batch=3)


def test_jpeg_through_fused(betons):
    with pytest.raises(ValueError, match=r"backend 'fused' reads raw pixels, .* use backend='native'"):
        make_loader(betons["jpeg"].path, 8, backend="fused")


def test_a_missing_extra_is_one_sentence(betons, monkeypatch):
    from loaders.backends import ffcv as ffcv_backend

    ffcv_backend._load_library.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"backend 'ffcv' needs .*libturbojpeg0-dev.* pip install ffcv"
    with pytest.raises(ImportError, match=message):
        make_loader(betons["jpeg"].path, 8, backend="ffcv")
    ffcv_backend._load_library.cache_clear()


@pytest.mark.parametrize("backend", ["native", FFCV, "reference"])
@pytest.mark.parametrize("damage", ["cut", "header", "size"])
def test_a_damaged_jpeg_is_named(betons, tmp_path, backend, damage):
    content = np.fromfile(betons["jpeg"].path, np.uint8)
    dataset = open_dataset(betons["jpeg"].path)
    start, size = dataset.offsets[23], dataset.sizes[23]
    if damage == "cut":
        content[start + size // 2 : start + size] = 0
        content[start + size // 2 - 300 : start + size // 2] = 255
    elif damage == "header":
        content[start] = 0
    else:
        frame = bytes(content[start : start + size]).index(b"\xff\xc0")
        content[start + frame + 6] = 200  # the height
    content.tofile(tmp_path / "damaged.beton")
    loader = make_loader(tmp_path / "damaged.beton", 10, backend=backend)
    batches = loader.epoch(EpochPlan(np.arange(40)))
    next(batches)
    next(batches)
    with pytest.raises(ValueError, match="the JPEG of sample 23 cannot be decoded"):
        next(batches)


def test_importing_loaders_is_cheap():
    program = (
        "import sys, threading, loaders\n"
        "assert not {'numba', 'torch', 'ffcv'} & set(sys.modules)\n"
        "assert threading.active_count() == 1\n"
        "assert loaders.Augment().flip is False\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=root)


def test_public_names():
    assert all(getattr(loaders, name) for name in loaders.__all__)
    with pytest.raises(AttributeError, match="no attribute 'DataLoader'"):
        loaders.DataLoader  # noqa: B018
