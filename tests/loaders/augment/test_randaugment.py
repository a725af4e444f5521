"""RandAugment: every compiled operation against Pillow, to the bit; the draws; both versions through the backends."""

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import Augment, EpochPlan, Mixup, RandAugment, make_loader
from loaders.augment.draws import RANDAUGMENT, draw
from loaders.augment.randaugment import BINS, OPERATION, Operation, operations
from loaders.backends.randaugment import prepared
from loaders.backends.reference import apply_operation
from loaders.kernels.randaugment_cpu import randaugment_block
from loaders.order.rng import hash_array
from tests.conftest import photographs
from tests.goodness import chi_square

SIZES = ((32, 32), (13, 17), (1, 1), (2, 40), (3, 3))
NAMES = sorted({name for version in ("standard", "arazo") for name, *_ in operations(RandAugment(1, 0, version), 9, 9)})


def some_images(height: int, width: int) -> np.ndarray:
    """uint8 [16, H, W, 3]: photographs, noise, few levels, one channel flat, one colour."""
    rng = np.random.default_rng(height * width)
    noise = rng.integers(0, 256, (4, height, width, 3), np.uint8)
    flat = noise.copy()
    flat[..., 1] = 200
    even = np.broadcast_to(np.array([[0], [255], [7], [128]], np.uint8)[:, :, None, None], noise.shape)
    return np.concatenate([photographs(4, height, width, 3), noise, noise // 100 * 100, flat[:2], even[:2]])


def compiled(images: np.ndarray, choices: tuple[Operation, ...], key: int = 5, rounds: int = 1) -> np.ndarray:
    num, height, width, _ = images.shape
    out = np.empty((num, height * width * 3), np.uint8)
    data, offsets = images.reshape(-1).copy(), np.arange(num) * out.shape[1]
    ops = prepared(rounds, choices, height, width)
    args = (data, offsets, np.arange(num), out, height, width, np.uint64(key), 0, 1, ops)
    for array in args[:3]:
        array.flags.writeable = False
    randaugment_block(0, num, *args)
    return out.reshape(images.shape)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_pillows_to_the_bit(name, size):
    images, (height, width) = some_images(*size), size
    bits = hash_array(5, np.arange(len(images)))
    y, x = ((hash_array(bits, RANDAUGMENT + index) >> np.uint64(11)) * 2.0**-53 for index in (2, 3))
    seen = set()
    for m in range(BINS + 1):
        for version in ("standard", "arazo"):
            choices = [op for op in operations(RandAugment(1, m, version), height, width) if op.name == name]
            for value in {value for _, *values in choices for value in values} - seen:
                seen.add(value)
                got = compiled(images, (Operation(name, value, value),))
                for i, image in enumerate(images):
                    place = width + (1 - width) * x[i], height + (1 - height) * y[i]  # in (1, width], (1, height]
                    wanted = apply_operation(Image.fromarray(image), name, value, *place)
                    assert np.array_equal(got[i], np.asarray(wanted)), (name, value, i)
    assert seen


def test_translations_are_whole_pixels_where_the_fraction_is_exact():
    """150 / 331 of 331 pixels at magnitude 11 of 30 is 55, and 54.999 in floating point."""
    for scale in (1, 2, 3):
        table = {name: plus for name, plus, _ in operations(RandAugment(2, 11), 331 * scale, 331 * scale)}
        assert table["TranslateX"] == table["TranslateY"] == 55 * scale


def values(version: str, m: int) -> dict[str, tuple[float, float]]:
    return {name: (plus, minus) for name, plus, minus in operations(RandAugment(2, m, version), 32, 32)}


def test_the_table_of_arazo_at_4():
    """One bit, threshold 34.1, 14.67 added, 0.34, 4 degrees, 0.04, 5.3 pixels, 13.3 pixels; no identity."""
    table = values("arazo", 4)
    assert len(table) == 16
    assert "Identity" not in table
    assert table["Posterize"] == (1, 1)
    assert table["Solarize"] == pytest.approx((34.133, 34.133), abs=1e-3)
    assert table["SolarizeAdd"] == pytest.approx((14.667, 14.667), abs=1e-3)
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        assert table[name] == pytest.approx((0.34, 0.34))
    assert table["Rotate"] == (4, -4)
    assert table["ShearX"] == table["ShearY"] == pytest.approx((0.04, -0.04))
    assert table["CutoutAbs"] == pytest.approx((5.333, 5.333), abs=1e-3)
    assert table["TranslateX"] == table["TranslateY"] == pytest.approx((13.333, -13.333), abs=1e-3)


def test_the_standard_table():
    weakest, strongest = values("standard", 0), values("standard", 30)
    assert len(weakest) == 14
    assert weakest["Posterize"] == (8, 8)
    assert weakest["Solarize"] == (255, 255)
    assert weakest["Color"] == (1, 1)
    assert strongest["Posterize"] == (4, 4)
    assert strongest["Solarize"] == (0, 0)
    assert strongest["Color"] == pytest.approx((1.9, 0.1))
    assert strongest["Rotate"] == (30, -30)
    assert strongest["TranslateX"] == (14, -14)
    assert strongest["ShearX"] == (0.3, -0.3)


def test_operations_are_drawn_evenly_and_independently():
    first, second = (draw(9, np.arange(25_600), RANDAUGMENT + 4 * r + OPERATION, 16) for r in range(2))
    assert chi_square(np.bincount(16 * first + second, minlength=256)) > 1e-4


@pytest.mark.parametrize("version", ["standard", "arazo"])
@pytest.mark.parametrize("backend", ["fused", pytest.param("ffcv", marks=pytest.mark.ffcv)])
@pytest.mark.parametrize("name", ["square", "odd"])
def test_backends_give_the_pixels_of_pillow(betons, backend, name, version):
    augment = Augment(randaugment=RandAugment(3, 11, version), crop_padding=4, flip=True, cutout=4)
    plan = EpochPlan(np.arange(97), key=3)
    options = {"dtype": torch.uint8, "augment": augment}
    got = make_loader(betons[name].path, 40, backend=backend, **options)
    wanted = make_loader(betons[name].path, 40, backend="reference", **options)
    for a, b in zip(got.epoch(plan), wanted.epoch(plan), strict=True):
        assert torch.equal(a.images, b.images)


def test_pixels_depend_on_neither_threads_ranks_nor_batch_size(betons):
    augment = Augment(randaugment=RandAugment(2, 9), flip=True)
    plan = EpochPlan(np.arange(60), key=8)

    def pixels(plan: EpochPlan, batch_size: int, num_threads: int) -> torch.Tensor:
        options = {"dtype": torch.uint8, "augment": augment, "num_threads": num_threads, "backend": "fused"}
        loader = make_loader(betons["square"].path, batch_size, **options)
        return torch.cat([batch.images.clone() for batch in loader.epoch(plan)])

    whole = pixels(plan, 60, 1)
    for batch_size, num_threads in ((60, 3), (7, 2), (1, 1)):
        assert torch.equal(pixels(plan, batch_size, num_threads), whole)
    for rank in range(2):
        assert torch.equal(pixels(plan.shard(rank, 2), 13, 2), whole[rank::2])


def test_it_comes_before_the_mixer(betons):
    augment = Augment(randaugment=RandAugment(2, 4, "arazo"), flip=True, mixer=Mixup(1.0))
    plan = EpochPlan(np.arange(50), key=21)
    loaders = (make_loader(betons["odd"].path, 32, backend=name, augment=augment) for name in ("fused", "reference"))
    for a, b in zip(*(loader.epoch(plan) for loader in loaders), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.mix.partners, b.mix.partners)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "n of RandAugment is a number of operations, 1 to 12, got 0"),
        ((13, 4), "1 to 12, got 13"),
        ((2, 31), "m of RandAugment is a whole number, 0 to 30, got 31"),
        ((2, 4.5), "0 to 30, got 4.5"),
        ((2, 4, "torch"), "version of RandAugment is 'standard' or 'arazo', got 'torch'"),
    ],
)
def test_bad_settings_get_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandAugment(*arguments)


def test_augment_takes_the_value_only():
    with pytest.raises(ValueError, match=r"randaugment is None, or a value such as RandAugment\(2, 9\), got \(2, 4\)"):
        Augment(randaugment=(2, 4))
