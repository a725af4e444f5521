"""The contract: every backend gives what the reference gives: ids, labels and weights, and pixels to the bit."""

import itertools

import numpy as np
import pytest
import torch

from loaders import (
    RICAP,
    Augment,
    ColorJitter,
    CutMix,
    EpochPlan,
    Mixup,
    RandAugment,
    RandomErasing,
    make_loader,
)
from tests.stock_ffcv import read_by_stock_ffcv

BACKENDS = (
    "fused",
    pytest.param("ffcv", marks=pytest.mark.ffcv),
    pytest.param("dali", marks=pytest.mark.dali),
)
DTYPES = (torch.uint8, torch.float32, torch.bfloat16, torch.float16)
STATISTICS = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)}
AUGMENTS = {
    "none": Augment(),
    "normalise": Augment(**STATISTICS),
    "flip": Augment(flip=True, **STATISTICS),
    "crop": Augment(crop_padding=4, **STATISTICS),
    "crop, flip": Augment(crop_padding=4, flip=True, **STATISTICS),
    "reflect, flip": Augment(crop_padding=3, pad_mode="reflect", flip=True, **STATISTICS),
    "reflect as far as it goes": Augment(crop_padding=12, pad_mode="reflect", **STATISTICS),
    "further than the image": Augment(crop_padding=40, flip=True, **STATISTICS),
    "odd cutout": Augment(cutout=5, **STATISTICS),
    "all": Augment(crop_padding=4, flip=True, cutout=8, **STATISTICS),
    "mixup": Augment(crop_padding=4, flip=True, mixer=Mixup(1.0), **STATISTICS),
    "CutMix": Augment(crop_padding=3, pad_mode="reflect", flip=True, mixer=CutMix(), **STATISTICS),
    "RICAP": Augment(crop_padding=4, flip=True, cutout=8, mixer=RICAP(1.0), **STATISTICS),
    "RandAugment": Augment(randaugment=RandAugment(2, 9), crop_padding=4, flip=True, **STATISTICS),
    "RandAugment of Arazo, RICAP": Augment(
        randaugment=RandAugment(2, 4, "arazo"), flip=True, mixer=RICAP(), **STATISTICS
    ),
    "jitter, both flips, erasing": Augment(
        color_jitter=ColorJitter(0.4, 0.4, 0.4),
        crop_padding=3,
        pad_mode="reflect",
        flip="alternating",
        vertical_flip=True,
        erasing=RandomErasing(0.8, value=(0.1, 0.2, 0.9)),
        **STATISTICS,
    ),
    "jitter, vertical flip, noise, RICAP": Augment(
        color_jitter=ColorJitter((0, 0.7), (1, 9)),
        crop_padding=4,
        vertical_flip=True,
        cutout=4,
        erasing=RandomErasing(value="random"),
        mixer=RICAP(1.0),
        **STATISTICS,
    ),
    "coarse statistics": Augment(flip=True, mean=(0.5, 0.25, 1.0), std=(1e-30, 1e6, 3.0)),
}

EACH_WITH_EACH = [  # quick: all augmentations as float32, and all types with two of them
    pytest.param(name, dtype, id=f"{name}-{dtype}", marks=() if quick else pytest.mark.slow)
    for name in AUGMENTS
    for dtype in DTYPES
    for quick in [dtype == torch.float32 or name in ("all", "mixup")]
]


def order(num: int, seed: int = 0, weights: bool = False) -> EpochPlan:
    rng = np.random.default_rng(seed)
    return EpochPlan(rng.integers(0, 40, num), rng.random(num) if weights else None, key=2**63 + seed)


def copied(batches) -> list:
    return [batch._replace(images=batch.images.clone()) for batch in batches]


def assert_equal(got, wanted) -> None:
    for g, w in itertools.zip_longest(got, wanted):
        assert g is not None, "batches are missing"
        assert w is not None, "there are too many batches"
        assert g.images.dtype == w.images.dtype
        assert g.images.is_contiguous(memory_format=torch.channels_last)
        for name in ("ids", "labels", "weights"):
            mine, theirs = getattr(g, name), getattr(w, name)
            assert (mine is None and theirs is None) or torch.equal(mine, theirs), name
        assert (g.mix is None) == (w.mix is None)
        assert g.mix is None or all(torch.equal(a, b) for a, b in zip(g.mix, w.mix, strict=True))
        # As bits: zeros of both signs count as different, NaN as equal to itself.
        bits = torch.uint8 if g.images.dtype == torch.uint8 else {2: torch.int16, 4: torch.int32}[g.images.itemsize]
        assert torch.equal(g.images.view(bits), w.images.view(bits)), "pixels"


def pair(beton, backend: str, batch_size: int, **options):
    return (make_loader(beton.path, batch_size, backend=name, **options) for name in (backend, "reference"))


@pytest.mark.parametrize(("augment", "dtype"), EACH_WITH_EACH)
@pytest.mark.parametrize("name", ["square", "odd"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_are_those_of_the_reference(betons, backend, name, augment, dtype):
    loader, reference = pair(betons[name], backend, 16, augment=AUGMENTS[augment], dtype=dtype)
    plan = order(40, weights=True)
    assert_equal(loader.epoch(plan), reference.epoch(plan))


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_without_augmentation_the_stored_pixels_come_out(betons, backend):
    beton = betons["square"]
    loader = make_loader(beton.path, 10, backend=backend, dtype=torch.uint8)
    for batch in loader.epoch(EpochPlan(np.arange(97))):
        assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), beton.images[batch.ids.numpy()])
        assert torch.equal(batch.labels, 7 * batch.ids)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("drop_last", [False, True])
def test_any_order_is_delivered_whole(betons, backend, drop_last):
    augment = AUGMENTS["all"]
    loader, reference = pair(betons["square"], backend, 4, augment=augment, drop_last=drop_last, dtype=torch.uint8)
    repeats = EpochPlan(np.array([3, 3, 7, 0, 11, 5, 5, 5, 1]), key=9)
    assert [batch.ids.tolist() for batch in loader.epoch(repeats)] == [
        [3, 3, 7, 0],
        [11, 5, 5, 5],
        *([] if drop_last else [[1]]),
    ]
    assert_equal(loader.epoch(repeats), reference.epoch(repeats))
    for length in (4, 16, 5):
        plan = order(length, seed=length)
        delivered = copied(loader.epoch(plan))
        assert sum(len(batch.ids) for batch in delivered) == (length // 4 * 4 if drop_last else length)
        assert_equal(delivered, reference.epoch(plan))


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_a_resumed_epoch_is_the_tail_of_a_whole_one(betons, backend):
    loader = make_loader(betons["odd"].path, 4, backend=backend, augment=AUGMENTS["all"])
    plan = order(18, weights=True)
    whole = copied(loader.epoch(plan))
    for start in range(6):
        assert_equal(loader.epoch(plan, start_batch=start), whole[start:])


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_ranks_together_show_the_pixels_of_one_process(betons, backend):
    plan = order(24)
    loader = make_loader(betons["odd"].path, 4, backend=backend, augment=AUGMENTS["all"], dtype=torch.uint8)
    whole = torch.cat([batch.images.clone() for batch in loader.epoch(plan)])
    for world_size in (2, 4):
        for rank in range(world_size):
            part = torch.cat([batch.images.clone() for batch in loader.epoch(plan.shard(rank, world_size))])
            assert torch.equal(part, whole[rank::world_size])


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_depend_on_neither_threads_nor_batch_size(betons, backend):
    def pixels(batch_size: int, num_threads: int | None) -> torch.Tensor:
        options = {"augment": AUGMENTS["all"], "num_threads": num_threads, "backend": backend}
        loader = make_loader(betons["square"].path, batch_size, **options)
        return torch.cat([batch.images.clone() for batch in loader.epoch(order(30))])

    first = pixels(30, 1)
    for batch_size, num_threads in ((30, 2), (30, 7), (7, None), (1, 2), (64, 3)):
        assert torch.equal(pixels(batch_size, num_threads), first)


@pytest.mark.ffcv
def test_jpeg_pixels_are_near_those_of_another_decoder(betons):
    """FFCV decodes by the fast transform, Pillow by the exact one: 1 level apart on average, seldom more than 8."""
    loader, reference = pair(betons["jpeg"], "ffcv", 16, dtype=torch.uint8, augment=AUGMENTS["all"])
    plan = order(40)
    for got, wanted in zip(copied(loader.epoch(plan)), reference.epoch(plan), strict=True):
        apart = (got.images.int() - wanted.images.int()).abs()
        assert torch.equal(got.ids, wanted.ids)
        assert torch.equal(got.labels, wanted.labels)
        assert apart.float().mean() < 2
        assert apart.max() <= 24


@pytest.mark.ffcv
def test_raw_images_of_a_mixed_file_are_exact(betons):
    loader, reference = pair(betons["mixed"], "ffcv", 40, dtype=torch.uint8)
    plan = EpochPlan(np.arange(40))
    got, wanted = next(loader.epoch(plan)), next(reference.epoch(plan))
    raw = ~torch.from_numpy(loader.dataset.is_jpeg.copy())
    assert 0 < raw.sum() < 40
    assert torch.equal(got.images[raw], wanted.images[raw])


@pytest.mark.ffcv
@pytest.mark.slow
def test_stock_ffcv_reads_the_same_images(betons):
    """FFCV's own Loader over the same files: equal images, JPEG too (the same decoder)."""
    paths = [betons[name].path for name in ("square", "jpeg")]
    for path, (images, labels) in zip(paths, read_by_stock_ffcv(*paths), strict=True):
        loader = make_loader(path, len(images), backend="ffcv", dtype=torch.uint8)
        (batch,) = loader.epoch(EpochPlan(np.arange(len(images))))
        assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), images)
        assert np.array_equal(batch.labels.numpy(), labels)
