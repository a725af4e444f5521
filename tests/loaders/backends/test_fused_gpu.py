"""The fused backend on a device gives what the one on the CPU gives, to the bit.

Without a GPU the same code runs on tensors of the CPU, the kernel in Triton's interpreter: hence few, small images.
"""

import functools
import gc
import importlib
import sys
import weakref

import numpy as np
import pytest
import torch

from convert.writers.beton import write_beton
from loaders import (
    RICAP,
    Augment,
    ColorJitter,
    CutMix,
    EpochPlan,
    IndexScheduler,
    Mixup,
    RandAugment,
    RandomErasing,
    make_loader,
    open_dataset,
)
from loaders.backends.batching import Settings
from loaders.backends.fused import open_on_device
from loaders.backends.gpu.residence import num_bytes, resident, too_large
from loaders.backends.gpu.transfer import OnDevice
from loaders.engine import open_engine
from tests.conftest import photographs
from tests.loaders.backends.test_backends import DTYPES, STATISTICS, assert_equal
from tests.loaders.conftest import GPU_KERNELS
from tests.no_waiting import no_waiting

SIZES = {"small": (8, 8), "odd": (9, 13), "two programs": (16, 23)}
NUM_SAMPLES = 20
PADS = {"no crop": {}, "zero": {"crop_padding": 3}, "reflect": {"crop_padding": 3, "pad_mode": "reflect"}}
MORE = {"plain": {}, "flip": {"flip": True}, "cutout": {"cutout": 3}, "flip, cutout": {"flip": True, "cutout": 4}}
MIXERS = {"unmixed": None, "mixup": Mixup(1.0), "CutMix": CutMix(), "RICAP": RICAP(1.0)}
EACH_WITH_EACH = [  # quick: all mixers as float32, and all types with one of them
    pytest.param(mixer, dtype, id=f"{mixer}-{dtype}", marks=() if quick else pytest.mark.slow)
    for mixer in MIXERS
    for dtype in DTYPES
    for quick in [dtype == torch.float32 or mixer == "RICAP"]
]
ALL = Augment(crop_padding=2, flip=True, cutout=3, **STATISTICS)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """name -> a raw .beton of images of that size."""
    folder = tmp_path_factory.mktemp("small")
    for name, (height, width) in SIZES.items():
        write_beton(folder / f"{name}.beton", photographs(NUM_SAMPLES, height, width, 3), 7 * np.arange(NUM_SAMPLES))
    return {name: folder / f"{name}.beton" for name in SIZES}


def order(num: int, seed: int = 0) -> EpochPlan:
    """Weighted, with repeats."""
    rng = np.random.default_rng(seed)
    return EpochPlan(rng.integers(0, NUM_SAMPLES, num), rng.random(num), key=2**63 + seed)


def on_host(batches):
    for batch in batches:
        mix = batch.mix and type(batch.mix)(*(x.cpu() for x in batch.mix))
        yield type(batch)(*(x if x is None else x.cpu() for x in batch[:-1]), mix)


def check(path, device, augment, dtype=torch.uint8, batch_size=3, plan=None, start_batch=0, **options):
    """Both backends over one plan; a short last batch is in the default one."""
    plan = order(4) if plan is None else plan
    on_device = open_on_device(open_dataset(path), Settings(batch_size, dtype, augment, **options), device)
    batches = list(on_device.epoch(plan, start_batch))
    assert all(batch.images.device.type == device.type for batch in batches)
    loader = make_loader(path, batch_size, backend="fused", dtype=dtype, augment=augment, **options)
    assert_equal(on_host(batches), loader.epoch(plan, start_batch))


@pytest.mark.parametrize(
    ("pad", "more", "mixer"),
    [
        pytest.param(pad, more, mixer, marks=() if quick else pytest.mark.slow)
        for pad in PADS
        for more in MORE
        for mixer in MIXERS
        for quick in [mixer == "unmixed" or (pad, more) == ("reflect", "flip, cutout")]
    ],
)
def test_pixels_are_those_of_the_cpu(paths, device, pad, more, mixer):
    check(paths["odd"], device, Augment(**PADS[pad], **MORE[more], mixer=MIXERS[mixer]))


@pytest.mark.parametrize(("mixer", "dtype"), EACH_WITH_EACH)
def test_values_are_those_of_the_cpu(paths, device, mixer, dtype):
    augment = Augment(**PADS["reflect"], **MORE["flip, cutout"], mixer=MIXERS[mixer], **STATISTICS)
    check(paths["small"], device, augment, dtype)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop_padding=40, flip=True),
        Augment(crop_padding=8, pad_mode="reflect"),
        Augment(cutout=40),
        Augment(flip=True, mean=(0.5, 0.25, 1.0), std=(1e-30, 1e6, 3.0)),
        Augment(mixer=Mixup(0.01), mean=(0.5, 0.25, 1.0), std=(1e-4, 1e6, 3.0)),
    ],
    ids=["further than the image", "reflected to its end", "all cut out", "coarse statistics", "overflow"],
)
def test_extremes(paths, device, augment):
    check(paths["odd"], device, augment)
    check(paths["odd"], device, augment, torch.float16)


@pytest.mark.parametrize("mixer", ["unmixed", "RICAP"])
def test_a_image_of_several_programs(paths, device, mixer):
    augment = Augment(crop_padding=2, flip=True, cutout=8, mixer=MIXERS[mixer], **STATISTICS)
    check(paths["two programs"], device, augment, torch.bfloat16)


COLOURS = {
    "jitter": ColorJitter(0.4, 0.4, 0.4),
    "brightness": ColorJitter((0.0, 3.0)),
    "contrast": ColorJitter(contrast=(0.0, 9.0)),
    "saturation": ColorJitter(saturation=(0.0, 9.0)),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("jitter", COLOURS)
def test_colours_are_those_of_the_cpu(paths, device, jitter, name):
    check(paths[name], device, Augment(color_jitter=COLOURS[jitter], crop_padding=2), plan=order(9))


def test_the_colours_of_a_large_image_are_changed_in_parts(paths, device, monkeypatch):
    check(paths["odd"], device, Augment(color_jitter=COLOURS["jitter"]))
    monkeypatch.setattr(importlib.import_module("loaders.kernels.jitter_gpu"), "BLOCK", 32)
    check(paths["odd"], device, Augment(color_jitter=COLOURS["jitter"]))


@pytest.mark.parametrize("value", ["random", (0.2, 0.5, 1.0)], ids=["noise", "colour"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_erased_pixels_are_those_of_the_cpu(paths, device, mixer, value):
    erasing = RandomErasing(0.9, scale=(0.1, 0.6), value=value)
    augment = Augment(erasing=erasing, cutout=3, flip=True, crop_padding=1, mixer=MIXERS[mixer])
    check(paths["odd"], device, augment, plan=order(7))


@pytest.mark.parametrize("mixer", MIXERS)
def test_flips_are_those_of_the_cpu(paths, device, mixer):
    augment = Augment(flip="alternating", vertical_flip=True, crop_padding=2, mixer=MIXERS[mixer])
    for epoch in range(2):
        plan = IndexScheduler(NUM_SAMPLES, budget=0.5, seed=4).plan(epoch)
        check(paths["odd"], device, augment, plan=plan.shard(1, 2))
        check(paths["odd"], device, augment, torch.float32, plan=plan, start_batch=2)


def test_any_order_is_delivered_whole(paths, device):
    repeats = EpochPlan(np.array([3, 3, 7, 0, 11, 5, 5, 5, 1]), key=9)
    for drop_last in (False, True):
        check(paths["odd"], device, ALL, batch_size=4, plan=repeats, drop_last=drop_last)
    for start_batch in (1, 2, 3):
        augment = Augment(flip=True, mixer=CutMix())
        check(paths["odd"], device, augment, batch_size=4, plan=repeats, start_batch=start_batch)
    check(paths["odd"], device, ALL, plan=EpochPlan(np.array([], np.int64)))


def test_ranks_show_their_own_positions(paths, device):
    for rank in range(2):
        augment = Augment(crop_padding=2, flip=True, mixer=Mixup(1.0))
        check(paths["odd"], device, augment, torch.float32, plan=order(9).shard(rank, 2))


def test_a_plan_that_does_not_fit_is_refused_before_the_epoch(paths, device):
    backend = open_on_device(open_dataset(paths["odd"]), Settings(4), device)
    with pytest.raises(ValueError, match=r"the plan's id 20 at position 1 is not in 0\.\.19"):
        backend.epoch(EpochPlan(np.array([0, 20])))
    with pytest.raises(ValueError, match="start_batch is 2, the plan has 1 batches"):
        backend.epoch(EpochPlan(np.array([0])), start_batch=2)


def test_what_cannot_be_is_one_sentence(paths, device, betons):
    with pytest.raises(ValueError, match="reflecting 9 pixels needs a larger image than 9 x 13"):
        open_on_device(
            open_dataset(paths["odd"]), Settings(4, augment=Augment(crop_padding=9, pad_mode="reflect")), device
        )
    with pytest.raises(ValueError, match=r"backend 'fused' reads raw pixels, .* use backend='native'"):
        open_on_device(open_dataset(betons["jpeg"].path), Settings(4), device)


def test_without_triton_one_sentence_says_so(paths, monkeypatch):
    for module in GPU_KERNELS:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ImportError, match=r"batches on a GPU need Triton, .* `pip install triton`"):
        open_on_device(open_dataset(paths["odd"]), Settings(4), CPU)


def test_loaders_of_one_file_share_its_images(paths):
    dataset = open_dataset(paths["odd"])
    first, second = resident(dataset, CPU), resident(open_dataset(paths["odd"]), CPU)
    assert first.data is second.data
    stored = [first.data[start : start + 9 * 13 * 3].numpy() for start in first.offsets]
    assert all(np.array_equal(image, dataset.bytes(i)) for i, image in enumerate(stored))
    assert first.data.numel() == num_bytes(dataset)
    held = weakref.ref(first.data)
    del first, second
    gc.collect()
    assert held() is None


@pytest.mark.ffcv
def test_what_stays_on_the_host_is_told(paths, monkeypatch):
    dataset, gpu = open_dataset(paths["odd"]), torch.device("cuda", 0)
    size = num_bytes(dataset)
    for free, fits in ((2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 100 * size))
        assert (too_large(dataset, gpu) is None) == fits
    host = "batches made on the host and copied to cuda:0: "
    for backend, augment, reason in (
        ("fused", Augment(), "the images' 0.0 GB are more than half of the 0.0 GB that are free on cuda:0"),
        ("fused", Augment(randaugment=RandAugment()), "RandAugment runs on the host"),
        ("ffcv", Augment(), "backend 'ffcv' works there"),
    ):
        engine, residence = open_engine(backend, dataset, Settings(4, augment=augment), gpu)
        assert isinstance(engine, OnDevice)
        assert residence == host + reason
    assert make_loader(paths["odd"], 4).residence == "batches made on the host"


class AbsentGPU:
    """What Triton asks of a driver before it launches a kernel, for a GPU that is not there."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 80, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(run, kernels, *args, **options):
    kernels.append(run(*args, **options | {"warmup": True}))


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """The kernels that launches need: compiled to machine code, and not launched."""
    triton = pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for module in GPU_KERNELS:
        monkeypatch.delitem(sys.modules, module, raising=False)
    kernels = []
    for module, name in (
        ("augment_gpu", "augment_batch"),
        ("jitter_gpu", "jitter_batch"),
        ("randaugment_gpu", "randaugment_round"),
        ("resize_gpu", "weigh"),
        ("resize_gpu", "sum_up"),
    ):
        kernel = getattr(importlib.import_module(f"loaders.kernels.{module}"), name)
        kernel.run = functools.partial(compile_only, kernel.run, kernels)
    monkeypatch.setattr(triton.runtime.driver, "_active", AbsentGPU())  # `reset_active` would need a GPU
    yield kernels
    for module in GPU_KERNELS:
        sys.modules.pop(module, None)


@pytest.mark.parametrize(("mixer", "dtype"), EACH_WITH_EACH)
def test_an_epoch_compiles_one_kernel_that_fuses_no_rounding(paths, compiled, dtype, mixer):
    """What the interpreter accepts, the compiler may not; slices of any alignment share a kernel."""
    augment = Augment(**PADS["reflect"], **MORE["flip, cutout"], mixer=MIXERS[mixer], **STATISTICS)
    assert len(compile_epoch(paths["small"], compiled, dtype, augment)) == 1


def compile_epoch(path, compiled, dtype, augment, open_on_device=open_on_device) -> set:
    """The different kernels of an epoch of five batches, none of which fuses a product and a sum."""
    backend = open_on_device(open_dataset(path), Settings(3, dtype, augment), CPU)
    assert len(list(backend.epoch(order(14)))) == 5
    for kernel in {id(kernel): kernel for kernel in compiled}.values():
        assert len(kernel.asm["cubin"]) > 0
        assert "fma" not in kernel.asm["ptx"]
        assert ".ftz" not in kernel.asm["ptx"]
    return {id(kernel) for kernel in compiled}


def test_jitter_is_a_second_kernel(paths, compiled):
    augment = Augment(
        color_jitter=ColorJitter(0.4, 0.4, 0.4),
        flip="alternating",
        vertical_flip=True,
        erasing=RandomErasing(value="random"),
        mixer=CutMix(),
        **STATISTICS,
    )
    assert len(compile_epoch(paths["small"], compiled, torch.bfloat16, augment)) == 2
    assert len(compiled) == 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("randaugment", [None, RandAugment()], ids=["on the GPU", "on the host"])
def test_no_batch_waits_for_the_device(paths, randaugment):
    augment = Augment(crop_padding=2, flip=True, randaugment=randaugment, mixer=RICAP(), **STATISTICS)
    loader = make_loader(paths["odd"], 4, backend="fused", device="cuda", augment=augment)
    assert ("on the host" in loader.residence) == (randaugment is not None)
    list(loader.epoch(order(12)))
    with no_waiting():
        batches = list(loader.epoch(order(12, 1)))
    wanted = make_loader(paths["odd"], 4, backend="fused", augment=augment).epoch(order(12, 1))
    assert_equal(on_host(batches), wanted)
