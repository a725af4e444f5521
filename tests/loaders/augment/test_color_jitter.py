"""Colours are jittered as Pillow does it, by factors that are uniform, from the whole image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from convert.writers.beton import write_beton
from loaders import Augment, ColorJitter, EpochPlan, make_loader
from loaders.augment.color_jitter import jitter_factors
from loaders.augment.draws import JITTER
from loaders.order.rng import hash64
from tests.goodness import kolmogorov

ENHANCE = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
PLAN = EpochPlan(np.arange(97), key=2**63 + 5)
STRONG = ColorJitter((0.0, 2.0), (0.5, 4.0), (0.0, 3.0))


def pixels(path, augment: Augment) -> np.ndarray:
    """uint8 [97, H, W, 3], from the compiled kernels."""
    loader = make_loader(path, 40, backend="fused", dtype=torch.uint8, augment=augment)
    return np.concatenate([batch.images.permute(0, 2, 3, 1).numpy() for batch in loader.epoch(PLAN)])


def jittered(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """What torchvision's ColorJitter calls for an image of Pillow, in its unshuffled order."""
    shown = Image.fromarray(image)
    for enhance, factor in zip(ENHANCE, factors.tolist(), strict=True):
        shown = enhance(shown).enhance(factor)
    return np.asarray(shown)


@pytest.mark.parametrize("name", ["square", "odd"])
@pytest.mark.parametrize(
    "jitter",
    [
        ColorJitter(0.4, 0.4, 0.4),
        STRONG,
        ColorJitter(0.8),
        ColorJitter(contrast=1.0),
        ColorJitter(saturation=(0.0, 255.0)),
    ],
    ids=str,
)
def test_the_kernel_gives_the_bytes_of_pillow(betons, name, jitter):
    factors = jitter_factors(jitter, PLAN.key, PLAN.positions)
    wanted = [jittered(image, f) for image, f in zip(betons[name].images, factors, strict=True)]
    assert np.array_equal(pixels(betons[name].path, Augment(color_jitter=jitter)), np.stack(wanted))


def test_factors_are_uniform_and_independent():
    drawn = jitter_factors(ColorJitter(0.4, (1.0, 3.0), 2.0), 7, np.arange(20_000))
    assert drawn.dtype == np.float32
    for column, low, high in zip(drawn.T, (0.6, 1.0, 0.0), (1.4, 3.0, 3.0), strict=True):
        part = (column - low) / (high - low)
        assert -1e-6 < part.min() < 0.001
        assert 0.999 < part.max() < 1 + 1e-6
        assert kolmogorov(part) > 1e-4
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.03


def test_a_factor_is_24_bits_of_the_hash_of_key_position_and_index():
    low, span = np.float32(0.6), np.float32(1.4) - np.float32(0.6)
    bits = int(hash64(np.uint64(hash64(np.uint64(9), np.uint64(4))), np.uint64(JITTER)))
    expected = low + np.float32(bits >> 40) * np.float32(2.0**-24) * span
    assert jitter_factors(ColorJitter(0.4), 9, np.array([4]))[0].tolist() == [expected, 1.0, 1.0]


def test_nothing_changes_where_all_is_zero(betons):
    assert np.array_equal(pixels(betons["odd"].path, Augment(color_jitter=ColorJitter())), betons["odd"].images)


def test_it_comes_before_the_crop_whose_black_edges_do_not_count(betons, tmp_path):
    more = {"crop_padding": 4, "flip": True, "cutout": 5}
    stored = pixels(betons["square"].path, Augment(color_jitter=STRONG))
    write_beton(tmp_path / "jittered.beton", stored, np.arange(97))
    wanted = pixels(tmp_path / "jittered.beton", Augment(**more))
    assert np.array_equal(pixels(betons["square"].path, Augment(color_jitter=STRONG, **more)), wanted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1,), "brightness is a number >= 0, such as 0.4 .* got -0.1"),
        ((0, "much"), "contrast is a number >= 0, .* got 'much'"),
        ((0, 0, (1.2, 0.8)), r"saturation is a number .* got \(1.2, 0.8\)"),
        ((0, 0, (1, 2, 3)), r"the smallest and the largest factor, .* got \(1, 2, 3\)"),
        ((300,), "which is at most 255, got 300"),
        ((float("nan"),), "brightness is .* got nan"),
        ((True,), "brightness is .* got True"),
    ],
)
def test_bad_values_get_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        ColorJitter(*arguments)


def test_one_number_is_two_factors():
    assert ColorJitter(0.4, 1.5, (0.2, 3)) == ColorJitter((0.6, 1.4), (0.0, 2.5), (0.2, 3.0))
