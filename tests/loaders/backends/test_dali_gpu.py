"""DALI's images decoded where the batch is made: no round trip, and the batches of the same backend on the host.

Without a GPU the same code runs on tensors of the CPU: DALI decodes there and Triton's interpreter runs the kernel, so
all but the place of the decoder is tried. With a GPU its decoder rounds in its own way, within the stated tolerance.
"""

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
    open_dataset,
)
from loaders.backends.batching import Settings
from loaders.backends.dali import graph, open_on_device
from loaders.backends.gpu.device import DeviceFeed
from loaders.backends.gpu.transfer import OnDevice
from loaders.engine import open_engine
from tests.loaders.backends.test_backends import STATISTICS, assert_equal
from tests.loaders.backends.test_fused_gpu import on_host

pytestmark = pytest.mark.dali
TOLERANCE = (2.0, 24)  # mean and largest distance in pixel values of a GPU's decoder from the reference's
AUGMENTED = Augment(crop_padding=3, flip=True, cutout=5)
RESIZED = Augment(resize=12, random_resized_crop=(0.1, 1.0), flip=True)
REPEATS = EpochPlan(np.array([3, 3, 7, 0, 29, 5, 5, 5, 1]), np.linspace(0.5, 1.5, 9), key=9)


@pytest.fixture
def paths(betons, photos):
    return {"jpeg": betons["jpeg"].path, "mixed": betons["mixed"].path, "photos": photos / "train.tar"}


def on(device, path, augment, dtype=torch.uint8, **options) -> DeviceFeed:
    return open_on_device(open_dataset(path), Settings(4, dtype, augment, **options), device)


def check(feed: DeviceFeed, plan: EpochPlan = REPEATS, start_batch: int = 0) -> None:
    """Equal batches as from the host; on a GPU, near ones where the pixels are compared unmixed."""
    batches = list(feed.epoch(plan, start_batch))
    assert all(batch.images.device.type == feed.device.type for batch in batches)
    settings, gpu = feed.settings, feed.device.type == "cuda"
    options = {"augment": settings.augment, "dtype": settings.dtype, "drop_last": settings.drop_last}
    host = make_loader(feed.dataset.path, settings.batch_size, backend="reference" if gpu else "dali", **options)
    if not gpu:
        assert_equal(on_host(batches), host.epoch(plan, start_batch))
        return
    for got, wanted in itertools.zip_longest(on_host(batches), host.epoch(plan, start_batch)):
        assert got.ids.equal(wanted.ids)
        assert got.labels.equal(wanted.labels)
        apart = (got.images.float() - wanted.images.float()).abs() * (1 if settings.dtype == torch.uint8 else 50)
        assert apart.mean() <= TOLERANCE[0]
        assert apart.max() <= TOLERANCE[1]


@pytest.mark.parametrize(
    ("file", "augment", "dtype"),
    [
        ("jpeg", AUGMENTED, torch.uint8),
        ("jpeg", Augment(flip=True, mixer=RICAP(), **STATISTICS), torch.float32),
        ("mixed", Augment(crop_padding=3, pad_mode="reflect", mixer=CutMix()), torch.uint8),
        ("mixed", RESIZED, torch.uint8),
        (
            "mixed",
            Augment(color_jitter=ColorJitter(0.4, 0.4), flip="alternating", erasing=RandomErasing(1.0)),
            torch.uint8,
        ),
        ("photos", RESIZED, torch.uint8),
        ("photos", Augment(resize=9, center_crop=0.8, mixer=Mixup(1.0), **STATISTICS), torch.bfloat16),
    ],
)
def test_batches_are_those_of_the_host(paths, device, file, augment, dtype):
    """With repeats and a short last batch."""
    check(on(device, paths[file], augment, dtype))


def test_any_epoch_after_any_other(paths, device):
    """Lengths that change, a run that resumes, an early break, whole batches only, ranks: one pipeline for all."""
    feed = on(device, paths["photos"], RESIZED)
    for length in (9, 2, 5):
        check(feed, EpochPlan(REPEATS.ids[:length], key=length))
    check(feed, start_batch=1)
    check(feed, start_batch=3)
    batches = feed.epoch(REPEATS)
    next(batches)
    batches.close()
    check(feed, REPEATS.shard(1, 2))
    check(on(device, paths["photos"], RESIZED, drop_last=True))
    first, second = feed.epoch(REPEATS), feed.epoch(REPEATS)
    assert all(a.images.equal(b.images) for a, b in zip(first, second, strict=True))


def test_a_damaged_image_is_named_and_the_feed_goes_on(paths, device, tmp_path):
    dataset, content = open_dataset(paths["jpeg"]), np.fromfile(paths["jpeg"], np.uint8)
    content[dataset.offsets[23] + 300 : dataset.offsets[23] + dataset.sizes[23]] = 0
    content.tofile(tmp_path / "damaged.beton")
    feed = on(device, tmp_path / "damaged.beton", AUGMENTED)
    with pytest.raises(ValueError, match="the JPEG of sample 23 cannot be decoded"):
        list(feed.epoch(EpochPlan(np.array([3, 7, 11, 2, 23, 5]))))
    check(feed)


@pytest.mark.parametrize("raw", [False, True], ids=["streams", "pixels"])
@pytest.mark.parametrize("size", [0, 32])
def test_a_gpu_decodes_and_resizes(size, raw):
    """The graph that a GPU would get: nothing is decoded or resized on the host, pixels are cut there."""
    if raw and not size:
        return  # nothing to decode: not a pipeline
    from nvidia.dali import Pipeline

    devices = []
    for on_gpu in (False, True):
        with Pipeline(batch_size=4, num_threads=1, device_id=0 if on_gpu else None):
            output, found = graph(lambda batch: None, raw, size, on_gpu), {}
            nodes = [output]
            while nodes:
                source = nodes.pop().source
                found[type(source._op).__name__] = source._op.device
                nodes += [node for nodes_of_one in source.inputs for node in np.ravel(nodes_of_one)]
        devices.append((output.device, found))
    work = {"Slice": "cpu"} if raw else {"ImageSlice" if size else "Image": "mixed"}
    resize = {"Resize": "gpu"} if size else {}
    assert devices[1] == ("gpu", {"ExternalSource": "cpu", **work, **resize})
    assert devices[0] == ("cpu", dict.fromkeys(devices[1][1], "cpu"))


def test_where_the_batches_are_made_is_told(betons, paths):
    gpu = torch.device("cuda", 0)
    settings = Settings(4, torch.uint8)
    engine, residence = open_engine("dali", open_dataset(paths["jpeg"]), settings, gpu)
    assert isinstance(engine, DeviceFeed)
    assert residence == "images decoded and batches made on cuda:0"
    for path, augment, reason in (
        (paths["jpeg"], Augment(randaugment=RandAugment()), "RandAugment runs on the host"),
        (betons["odd"].path, Augment(), "raw images need no decoding, and backend 'fused' keeps them there"),
    ):
        engine, residence = open_engine("dali", open_dataset(path), Settings(4, augment=augment), gpu)
        assert isinstance(engine, OnDevice)
        assert residence == f"batches made on the host and copied to cuda:0: {reason}"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_loader_on_a_gpu_decodes_there(paths):
    loader = make_loader(paths["photos"], 4, backend="dali", device="cuda", dtype=torch.uint8, augment=RESIZED)
    assert (loader.backend, loader.residence[:16]) == ("dali", "images decoded")
    kept = list(loader.epoch(REPEATS))  # DALI's buffers are used again, batches are not
    again = list(loader.epoch(REPEATS))
    assert all(a.images.equal(b.images) for a, b in zip(kept, again, strict=True))
