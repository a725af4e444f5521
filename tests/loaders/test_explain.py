"""`loader.explain()`: stages that add up, and advice that fits what is slow."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convert.writers.streams import Streams
from convert.writers.tar import write_jpeg_tar
from loaders import Augment, ColorJitter, RandAugment, make_loader
from loaders.backends.batching import Settings
from loaders.formats.jpeg.restart import with_restart_rows
from loaders.stages import Stages
from loaders.verdict import Clock, judge
from tests.loaders.formats.jpeg.streams import encoded, smooth

STAGES = Stages(8.0, 0.01, 0.001, True, 0.002, 0.0015, 0.0012, 0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two tars of 16 JPEG of 60 x 80 pixels: with restart rows, and without."""
    folder = tmp_path_factory.mktemp("explain")
    plain = [encoded(smooth(np.random.default_rng(i), 60, 80), "420") for i in range(16)]
    for name, streams in (("plain", plain), ("rows", [with_restart_rows(stream) for stream in plain])):
        offsets, data = np.cumsum([0, *map(len, streams)]), np.frombuffer(b"".join(streams), np.uint8)
        sizes = np.full(16, 60), np.full(16, 80)
        write_jpeg_tar(
            folder / f"{name}.tar", Streams(data, offsets, *sizes, np.arange(16) % 2, np.zeros((3, 256), np.int64))
        )
    return folder


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_stages_of_a_jpeg_loader(files, backend):
    augment = Augment(resize=32, random_resized_crop=(0.1, 1.0), randaugment=RandAugment())
    explanation = make_loader(files / "rows.tar", 8, backend=backend, augment=augment).explain()
    stages = explanation.stages
    assert stages.batch_size == 8
    assert stages.delivered > 0
    assert stages.read > 0
    if backend == "native":
        assert min(stages.decode, stages.resize, stages.augment) > 0
        assert stages.copy == 0
    else:
        assert stages.decode is None  # it cannot be taken apart
    assert explanation.lines[-1] in str(explanation)


def test_raw_images_have_nothing_to_decode(betons):
    explanation = make_loader(betons["square"].path, 8, augment=Augment(flip=True)).explain()
    assert explanation.stages.augment > 0
    assert explanation.stages.resize == 0
    assert explanation.slowest in ("reading", "augmenting", "decoding")


def test_steps_that_change_pixels_are_augmentation_and_not_decoding(betons):
    augment = Augment(color_jitter=ColorJitter(0.4, 0.4, 0.4), randaugment=RandAugment())
    loader = make_loader(betons["square"].path, 8, augment=augment)
    feed, calls = loader._backend, []
    bare, whole = feed.new_bare_fetch, feed.new_fetch
    feed.new_bare_fetch = lambda: calls.append("bare") or bare()
    feed.new_fetch = lambda: calls.append("whole") or whole()
    stages = loader.explain().stages
    assert stages.decode < stages.augment
    assert "bare" in calls, "the stored pixels are read for themselves"
    assert stages.resize == 0


def test_bytes_in_the_page_cache_are_read_once_and_so_no_reason(files):
    loader = make_loader(files / "rows.tar", 8, augment=Augment(resize=24))
    stages = dataclasses.replace(STAGES, read=1.0, from_disk=False)
    judged = judge(loader.dataset, loader.settings, loader.backend, loader.residence, stages, Clock())
    assert judged.slowest == "decoding"


def verdict(loader, slow: str, clock: Clock = Clock(), **settings):  # noqa: B008 (not changed)
    """The advice where one stage takes long."""
    stages = dataclasses.replace(STAGES, **{slow: 1.0})
    changed: Settings = dataclasses.replace(loader.settings, **settings)
    return judge(loader.dataset, changed, loader.backend, loader.residence, stages, clock)


def test_advice_names_the_one_thing_to_change(files):
    small, large = Augment(resize=20), Augment(resize=48)
    plain = make_loader(files / "plain.tar", 8, augment=large)
    rows = make_loader(files / "rows.tar", 8, augment=large)
    threads = {"num_threads": None}
    assert "no restart markers" in verdict(plain, "decode", **threads).advice
    assert "at its ceiling" in verdict(rows, "decode", **threads).advice
    assert "--max-side 40" in verdict(rows, "decode", augment=small, **threads).advice
    assert "MB/s come from the disk" in verdict(rows, "read").advice
    assert "torch.bfloat16" in verdict(rows, "augment").advice
    assert "as fast as memory" in verdict(rows, "augment", dtype=torch.uint8).advice
    assert "uint8 copies a quarter" in verdict(rows, "copy").advice
    assert verdict(rows, "resize").slowest == "resizing"


def test_a_loop_that_works_longer_than_it_waits(files):
    loader = make_loader(files / "rows.tar", 8, augment=Augment(resize=24))
    assert "nothing about the loader" in verdict(loader, "decode", Clock(100, waited=0.1, worked=10.0)).advice
    assert verdict(loader, "decode", Clock(100, waited=5.0, worked=1.0)).slowest == "decoding"
    for _ in loader:
        pass
    assert loader.explain().lines[-2].endswith("over 2 batches")


def test_the_command(files):
    command = [sys.executable, "-m", "loaders.explain", str(files / "rows.tar"), "--resize=24", "--batch-size=8"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120, check=True)
    assert done.stdout.splitlines()[-1].startswith("verdict")
    failed = subprocess.run(
        [*command[:3], "nowhere"], capture_output=True, text=True, cwd=root, timeout=120, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no such file: nowhere")
