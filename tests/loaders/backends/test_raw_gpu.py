"""The backend "gpu" gives what the backends on the CPU give, to the bit: RandAugment, resizing, grey images, a part of
them on the device.

Without a GPU the same code runs on tensors of the CPU, the kernels in Triton's interpreter: hence few, small images.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from convert.writers.beton import write_beton
from convert.writers.grey_beton import write_grey_beton
from loaders import (
    RICAP,
    Augment,
    ColorJitter,
    CutMix,
    EpochPlan,
    IndexScheduler,
    Mixup,
    RandAugment,
    make_loader,
    open_dataset,
)
from loaders.backends import native
from loaders.backends.batching import Settings, Span
from loaders.backends.gpu.partly import PARTS, PartlyResident, arrange
from loaders.backends.gpu.raw import open_on_device
from loaders.engine import open_engine
from tests.conftest import photographs
from tests.loaders.backends.test_backends import STATISTICS, assert_equal
from tests.loaders.backends.test_fused_gpu import compile_epoch, compiled, on_host
from tests.no_waiting import no_waiting

__all__ = ["compiled"]  # a fixture
NUM_SAMPLES = 20
IMAGE = 9 * 13 * 3  # bytes
PLAN = EpochPlan(np.array([3, 3, 19, 0, 11, 5, 5]), key=2**63 + 1)
RANDAUGMENTS = {"standard": RandAugment(2, 14), "arazo": RandAugment(3, 25, "arazo")}
RESIZED = {
    "centre": Augment(resize=5, center_crop=0.8),
    "larger": Augment(resize=17),
    "random": Augment(resize=6, random_resized_crop=(0.05, 1.0)),
    "one pixel": Augment(resize=1, center_crop=0.4),
    "random, all": Augment(
        resize=7,
        random_resized_crop=(0.25, 1.0),
        randaugment=RandAugment(2, 9),
        crop_padding=2,
        flip=True,
        mixer=CutMix(),
    ),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """name -> a raw .beton of 20 images of 9 x 13 pixels, of three channels or of one."""
    folder, images = tmp_path_factory.mktemp("small"), photographs(NUM_SAMPLES, 9, 13, 3)
    write_beton(folder / "rgb.beton", images, 7 * np.arange(NUM_SAMPLES))
    write_grey_beton(folder / "grey.beton", images[..., :1], 7 * np.arange(NUM_SAMPLES))
    return {name: folder / f"{name}.beton" for name in ("rgb", "grey")}


def check(path, device, augment, dtype=torch.uint8, backend="fused", plan=PLAN, batch_size=4):
    feed = open_on_device(open_dataset(path), Settings(batch_size, dtype, augment), device)
    batches = list(feed.epoch(plan))
    assert all(batch.images.device.type == device.type for batch in batches)
    wanted = make_loader(path, batch_size, backend=backend, dtype=dtype, augment=augment).epoch(plan)
    assert_equal(on_host(batches), wanted)


@pytest.mark.parametrize("version", RANDAUGMENTS)
@pytest.mark.parametrize("name", ["rgb", pytest.param("grey", marks=pytest.mark.slow)])
def test_randaugment_is_that_of_the_cpu(paths, device, name, version):
    augment = Augment(randaugment=RANDAUGMENTS[version], crop_padding=2, flip=True)
    augment = augment if name == "rgb" else dataclasses.replace(augment, mean=(0.3,), std=(0.2,))
    plan = EpochPlan(np.arange(7), key=5)
    check(paths[name], device, augment, plan=plan)
    check(paths[name], device, augment, torch.float16, plan=plan.shard(1, 2))


def test_all_stages_come_in_their_order(paths, device):
    augment = Augment(
        randaugment=RandAugment(1, 20),
        color_jitter=ColorJitter(0.4, 0.4, 0.4),
        crop_padding=3,
        flip="alternating",
        mixer=Mixup(1.0),
        **STATISTICS,
    )
    check(paths["rgb"], device, augment, torch.bfloat16, plan=EpochPlan(np.array([3, 19, 0]), key=9))


@pytest.mark.parametrize("augment", [Augment(mean=(0.3,), std=(0.2,)), Augment(mean=(0.0,), std=(1.0,), mixer=RICAP())])
def test_grey_images_stay_grey(paths, device, augment):
    check(paths["grey"], device, augment)
    check(paths["grey"], device, augment, torch.float32)
    feed = open_on_device(open_dataset(paths["grey"]), Settings(3, augment=augment), device)
    images = next(feed.epoch(PLAN)).images
    assert images.shape == (3, 1, 9, 13)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", RESIZED)
def test_resized_pixels_are_those_of_the_cpu(paths, device, name):
    plan = EpochPlan(np.array([3, 19, 0]), key=8)
    check(paths["rgb"], device, RESIZED[name], backend="native", plan=plan, batch_size=2)


def test_images_of_several_sizes_are_resized(paths, device):
    dataset = open_dataset(paths["rgb"])
    heights = np.where(np.arange(NUM_SAMPLES) % 2, 9, 39)
    varied = dataclasses.replace(dataset, heights=heights, widths=117 // heights)
    assert varied.image_shape is None
    for augment in (RESIZED["random"], Augment(resize=4)):
        settings = Settings(4, torch.uint8, augment)
        for capacity in (None, 3 * 4 * IMAGE):
            feed, plan = open_on_device(varied, settings, device, capacity), EpochPlan(np.array([3, 2, 19]), key=1)
            assert_equal(on_host(feed.epoch(plan)), native.open_backend(varied, settings).epoch(plan))


def test_a_batch_of_one_is_resized(paths, device):
    check(paths["rgb"], device, RESIZED["random"], backend="native", plan=EpochPlan(np.array([4]), key=2))
    check(paths["rgb"], device, RESIZED["random"], backend="native", plan=EpochPlan(np.array([], np.int64)))


@pytest.mark.parametrize("num_kept", [5, *(pytest.param(num, marks=pytest.mark.slow) for num in (0, NUM_SAMPLES - 1))])
def test_a_part_of_the_images_on_the_device_changes_no_pixel(paths, device, num_kept):
    """Plans that follow each other, are left early and begin in the middle."""
    augment, batch_size = Augment(flip=True, crop_padding=1), 3
    settings = Settings(batch_size, torch.uint8, augment)
    capacity = (num_kept + PARTS * batch_size) * IMAGE
    feed = open_on_device(open_dataset(paths["rgb"]), settings, device, capacity)
    loader = make_loader(paths["rgb"], batch_size, backend="fused", dtype=torch.uint8, augment=augment)
    rng = np.random.default_rng(num_kept)
    for epoch in range(3):
        few = EpochPlan(rng.choice(rng.permutation(NUM_SAMPLES)[:9], 14), rng.random(14), key=epoch)
        for plan, start in ((IndexScheduler(NUM_SAMPLES, budget=0.6, seed=1).plan(epoch), 0), (few, 2)):
            assert_equal(on_host(feed.epoch(plan, start)), loader.epoch(plan, start))
        batches = feed.epoch(few)
        assert_equal(on_host(itertools.islice(batches, 2)), itertools.islice(loader.epoch(few), 2))
        batches.close()


def test_epochs_that_run_at_once_do_not_disturb_each_other(paths, device):
    settings = Settings(3, torch.uint8, Augment(flip=True))
    feed = open_on_device(open_dataset(paths["rgb"]), settings, device, 14 * IMAGE)
    loader = make_loader(paths["rgb"], 3, backend="fused", dtype=torch.uint8, augment=settings.augment)
    plans = [IndexScheduler(NUM_SAMPLES, seed=seed).plan(0) for seed in range(2)]
    both = zip(*(feed.epoch(plan) for plan in plans), strict=True)
    for got, *wanted in zip(both, *(loader.epoch(plan) for plan in plans), strict=True):
        assert_equal(on_host(got), wanted)


def test_what_is_drawn_most_stays():
    ids = np.array([4, 4, 4, 2, 2, 7, 7, 1, 0])
    todo, held = [Span(0, 3), Span(3, 6), Span(6, 9)], np.full(9, -1)
    held[[2, 8]] = 1, 0
    arranged = arrange(ids, todo, held, capacity=3, part=10)
    assert arranged.staying.tolist() == [-1, -1, 1, -1, -1, -1, -1, -1, -1], "nobody draws 8 any more"
    assert [missing.tolist() for missing in arranged.missing] == [[4], [7], [0, 1]]
    assert [places.tolist() for places in arranged.places] == [[0], [2], []]
    assert arranged.starts.tolist() == [3, 3, 3, 1, 1, 13, 2, 24, 23]


def test_of_equally_many_draws_what_is_there_stays():
    held = np.full(10, -1)
    held[[3, 6, 9]] = 2, 0, 1
    arranged = arrange(np.arange(10), [Span(0, 5), Span(5, 10)], held, capacity=3, part=5)
    assert np.array_equal(arranged.staying, held)
    assert sum(map(len, arranged.missing)) == 7


def test_each_image_is_copied_once_where_all_stay():
    ids = np.random.default_rng(1).integers(0, 30, 200)
    todo = [Span(first, first + 20) for first in range(0, 200, 20)]
    arranged = arrange(ids, todo, np.full(30, -1), capacity=30, part=20)
    copied = np.concatenate(arranged.missing)
    assert np.array_equal(np.sort(copied), np.unique(ids))
    assert np.array_equal(np.sort(np.concatenate(arranged.places)), np.arange(len(copied)))


def test_what_stays_is_not_copied_again(paths):
    """Images that do not fit are copied in every epoch, the others in the first one only."""
    dataset, copied = open_dataset(paths["rgb"]), []
    fetcher = PartlyResident(dataset, Settings(5), (12 + PARTS * 5) * IMAGE, torch.device("cpu"))
    assert fetcher.num_staying == 12
    for epoch in range(3):
        before = fetcher._held >= 0
        plan = IndexScheduler(NUM_SAMPLES, seed=3).plan(epoch)
        for _ in fetcher.fetch(plan, [Span(first, first + 5) for first in range(0, 20, 5)]):
            pass
        copied.append(NUM_SAMPLES - np.count_nonzero(before & (fetcher._held >= 0)))
    assert copied == [20, 8, 8]


def test_buffers_that_inference_mode_began_serve_every_epoch(paths):
    dataset, plan = open_dataset(paths["rgb"]), [Span(0, 5), Span(5, 10)]
    with torch.inference_mode():
        fetcher = PartlyResident(dataset, Settings(5), 0, torch.device("cpu"))
    for epoch in range(2):
        with torch.inference_mode(mode=bool(epoch)):
            assert len(list(fetcher.fetch(IndexScheduler(NUM_SAMPLES).plan(epoch), plan))) == 2


def test_where_batches_are_made_is_told(paths, device, betons):
    dataset = open_dataset(paths["rgb"])
    settings = Settings(2, augment=Augment(randaugment=RandAugment()))
    assert open_on_device(dataset, settings, device).residence == (
        f"batches made on {device}, whose memory holds the images (0.0 MB)"
    )
    feed = open_on_device(dataset, settings, device, (5 + PARTS * 2) * IMAGE)
    assert feed.residence == (
        f"batches made on {device}, whose memory holds 25 % of the images, those that are drawn most; the others are "
        "copied"
    )
    with pytest.raises(ValueError, match=r"backend 'gpu' reads raw pixels, .* holds JPEG: use backend='dali'"):
        open_on_device(open_dataset(betons["jpeg"].path), settings, device)


def test_on_a_cpu_one_sentence_says_so(paths):
    with pytest.raises(ValueError, match="backend 'gpu' makes batches on a GPU: set device='cuda', or use"):
        make_loader(paths["rgb"], 4, backend="gpu")
    with pytest.raises(ValueError, match="backend 'gpu' makes batches on a GPU"):
        open_engine("gpu", open_dataset(paths["rgb"]), Settings(4), torch.device("cpu"))


@pytest.mark.slow
def test_every_stage_compiles_and_fuses_no_rounding(paths, compiled):
    """Resizing has two kernels, RandAugment one for all of its rounds."""
    augment = Augment(
        resize=8,
        random_resized_crop=(0.1, 1.0),
        randaugment=RandAugment(2, 9, "arazo"),
        color_jitter=ColorJitter(0.4, 0.4, 0.4),
        crop_padding=2,
        **STATISTICS,
    )
    kernels = compile_epoch(paths["rgb"], compiled, torch.float32, augment, open_on_device)
    assert len(kernels) == 5
    assert len(compiled) == 5 * 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("capacity", [None, (5 + PARTS * 4) * IMAGE], ids=["all resident", "partly resident"])
def test_no_batch_waits_for_the_device(paths, capacity):
    augment = Augment(crop_padding=2, flip=True, randaugment=RandAugment(), **STATISTICS)
    plan, device = IndexScheduler(NUM_SAMPLES).plan(0), torch.device("cuda", torch.cuda.current_device())
    feed = open_on_device(open_dataset(paths["rgb"]), Settings(4, augment=augment), device, capacity)
    list(feed.epoch(plan))
    with no_waiting():
        batches = list(feed.epoch(plan))
    assert_equal(on_host(batches), make_loader(paths["rgb"], 4, backend="fused", augment=augment).epoch(plan))
