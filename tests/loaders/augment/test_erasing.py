"""Rectangles are erased as torchvision draws them, and show what they are to show."""

import math

import numpy as np
import pytest
import torch

from loaders import Augment, CutMix, EpochPlan, Mixup, RandomErasing, make_loader
from loaders.augment.draws import ERASE, ERASE_BOX
from loaders.augment.erasing import erased_box, prepare_erasing
from loaders.order.rng import hash64, hash_array
from tests.goodness import chi_square

PLAN = EpochPlan(np.arange(97), key=2**63 + 6)


def pixels(beton, augment: Augment, backend: str = "fused") -> np.ndarray:
    """uint8 [97, H, W, 3]"""
    loader = make_loader(beton.path, 40, backend=backend, dtype=torch.uint8, augment=augment)
    return np.concatenate([batch.images.permute(0, 2, 3, 1).numpy() for batch in loader.epoch(PLAN)])


def boxes(erasing: RandomErasing, num: int, height: int = 32, width: int = 32) -> np.ndarray:
    """int64 [num, 4]"""
    bits = hash_array(11, np.arange(num))
    return np.array([erased_box(b, height, width, prepare_erasing(erasing)) for b in bits])


def drawn_by_torchvision(erasing: RandomErasing, height: int, width: int, bits: np.uint64) -> tuple[int, ...]:
    """The rule of torchvision's RandomErasing in plain Python, over our random numbers."""

    def uniform(index: int, low: float, high: float) -> float:
        return low + (int(hash64(bits, np.uint64(index))) >> 11) * 2.0**-53 * (high - low)

    def below(index: int, n: int) -> int:
        return (int(hash64(bits, np.uint64(index))) >> 32) * n >> 32

    if uniform(ERASE, 0, 1) >= erasing.p:
        return 0, 0, 0, 0
    for attempt in range(10):
        first = ERASE_BOX + 4 * attempt
        area = height * width * uniform(first, *erasing.scale)
        ratio = math.exp(uniform(first + 1, *map(math.log, erasing.ratio)))
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if rows < height and columns < width:
            return below(first + 2, height - rows + 1), below(first + 3, width - columns + 1), rows, columns
    return 0, 0, 0, 0


@pytest.mark.parametrize(("height", "width"), [(32, 32), (13, 17), (224, 160), (1, 1)])
@pytest.mark.parametrize("erasing", [RandomErasing(), RandomErasing(1.0, (0.3, 1.0), (0.1, 2.0))], ids=str)
def test_rectangles_are_those_of_torchvisions_rule(erasing, height, width):
    wanted = [drawn_by_torchvision(erasing, height, width, bits) for bits in hash_array(11, np.arange(400))]
    assert np.array_equal(boxes(erasing, 400, height, width), wanted)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_an_image_is_erased_with_probability_p(p):
    erased = (boxes(RandomErasing(p), 4000)[:, 2] > 0).mean()
    assert abs(erased - p) <= 4 * math.sqrt(p * (1 - p) / 4000)


def test_areas_and_ratios_stay_within_their_bounds_up_to_whole_pixels():
    _, _, rows, columns = boxes(RandomErasing(1.0, (0.1, 0.2), (0.5, 2.0)), 2000, 200, 200).T
    area, ratio = rows * columns / 40_000, rows / columns
    assert area.min() == pytest.approx(0.1, rel=0.02)
    assert area.max() == pytest.approx(0.2, rel=0.02)
    assert ratio.min() == pytest.approx(0.5, rel=0.03)
    assert ratio.max() == pytest.approx(2.0, rel=0.03)
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("value", "colour"), [(0.0, (0, 0, 0)), (1, (255,) * 3), ((0.2, 0.5, 0.999), (51, 128, 255))])
def test_the_rectangle_shows_the_value_and_the_rest_the_image(betons, value, colour):
    erasing, images = RandomErasing(1.0, value=value), betons["odd"].images
    wanted = images.copy()
    for image, bits in zip(wanted, hash_array(PLAN.key, PLAN.positions), strict=True):
        top, left, rows, columns = erased_box(bits, *image.shape[:2], prepare_erasing(erasing))
        image[top : top + rows, left : left + columns] = colour
    assert (wanted != images).any()
    for backend in ("fused", "reference"):
        assert np.array_equal(pixels(betons["odd"], Augment(erasing=erasing), backend), wanted)


def test_noise_is_uniform_and_new_in_each_pixel_channel_and_image(betons):
    erasing = RandomErasing(1.0, (0.5, 0.9), (0.9, 1.1), "random")
    shown, noise = pixels(betons["square"], Augment(erasing=erasing)), []
    for image, bits in zip(shown, hash_array(PLAN.key, PLAN.positions), strict=True):
        top, left, rows, columns = erased_box(bits, 32, 32, prepare_erasing(erasing))
        noise.append(image[top : top + rows, left : left + columns].reshape(-1, 3))
    every = np.concatenate(noise)
    assert chi_square(np.bincount(every.ravel(), minlength=256)) > 1e-4
    assert np.abs(np.corrcoef(every.T) - np.eye(3)).max() < 0.02
    assert abs(np.corrcoef(every[:-1, 0], every[1:, 0])[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[0][:400, 0], noise[1][:400, 0])[0, 1]) < 0.25


@pytest.mark.parametrize("mixer", [CutMix(), Mixup(1.0)], ids=["CutMix", "mixup"])
def test_mixed_images_are_erased_before_they_are_mixed(betons, mixer):
    augment = Augment(erasing=RandomErasing(1.0, value="random"), crop_padding=3, mixer=mixer)
    assert np.array_equal(pixels(betons["odd"], augment), pixels(betons["odd"], augment, "reference"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), "p of RandomErasing is a probability, 0 to 1, got 1.5"),
        (("often",), "is a probability, 0 to 1, got 'often'"),
        ((0.5, (0.0, 0.3)), r"scale of RandomErasing is two fractions .* 0 < smallest <= largest, got \(0.0, 0.3\)"),
        ((0.5, (0.1, 1.3)), r"fractions of the image's area, at most 1, .* got \(0.1, 1.3\)"),
        ((0.5, 0.3), "scale of RandomErasing is two .* got 0.3"),
        ((0.5, (0.1, 0.3), (3, 1)), r"ratio of RandomErasing is two values of height / width, .* got \(3, 1\)"),
        (
            (0.5, (0.1, 0.3), (1, 2), 127),
            "value of RandomErasing is a number, .* where 1 is the pixel value 255, .* 127",
        ),
        ((0.5, (0.1, 0.3), (1, 2), (0.5, 0.5)), r"one for each of three channels, .* got \(0.5, 0.5\)"),
        ((0.5, (0.1, 0.3), (1, 2), "noise"), "or 'random', got 'noise'"),
    ],
)
def test_bad_values_get_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomErasing(*arguments)
