"""Mixup, CutMix and RICAP: their draws against theory, their pixels against slow formulations, in every backend."""

import dataclasses

import numpy as np
import pytest
import torch

from loaders import Augment, EpochPlan, make_loader
from loaders.augment.mixers import ONE, RICAP, CutMix, Mixup, draw_mix, symmetric_beta
from loaders.order.rng import hash_array
from tests.goodness import chi_square, kolmogorov

MIXERS = (Mixup(), CutMix(), RICAP(), RICAP(beta=2.0))
PLAIN = Augment(crop_padding=4, flip=True, cutout=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def betas(alpha: float, num: int) -> np.ndarray:
    words = hash_array(7, np.arange(2 * num)).tolist()
    return np.array([symmetric_beta(alpha, *words[2 * i : 2 * i + 2]) for i in range(num)])


def beta_cdf(alpha: float):
    """Of Beta(alpha, alpha), by the trapezoidal rule in u = x^alpha, in which the density is smooth up to one half."""
    u = np.linspace(0, 0.5**alpha, 20_001)
    density = (1 - u ** (1 / alpha)) ** (alpha - 1)
    below = np.concatenate(([0], np.cumsum((density[1:] + density[:-1]) / 2)))
    below /= 2 * below[-1]

    def cdf(x):
        half = np.interp(np.minimum(x, 1 - x) ** alpha, u, below)
        return np.where(x < 0.5, half, 1 - half)

    return cdf


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 1.0, 4.0])
def test_beta_draws_follow_beta(alpha):
    x = betas(alpha, 20_000)
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(x.mean() - 0.5) < 4.5 * np.sqrt(variance / len(x))
    assert abs(x.var() / variance - 1) < 0.05
    assert kolmogorov(x, beta_cdf(alpha)) > 1e-4


def test_beta_draws_in_closed_form():
    assert kolmogorov(betas(1.0, 20_000)) > 1e-4
    assert kolmogorov(betas(0.5, 20_000), lambda x: 2 / np.pi * np.arcsin(np.sqrt(x))) > 1e-4
    assert kolmogorov(betas(2.0, 20_000), lambda x: x * x * (3 - 2 * x)) > 1e-4


@pytest.mark.parametrize("alpha", [1e-4, 1e6])
def test_beta_draws_of_extreme_parameters_are_numbers(alpha):
    x = betas(alpha, 1000)
    assert ((x >= 0) & (x <= 1)).all()
    assert abs(x.mean() - 0.5) < 0.1


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
@pytest.mark.parametrize("num", [1, 2, 37, 512])
def test_geometry_is_whole(mixer, num):
    for first in range(40):
        mixed = draw_mix(mixer, 11, first * num, num, 13, 17)
        assert mixed.partners.shape == (num, len(mixed.shares))
        for column in mixed.partners.T:
            assert np.array_equal(np.sort(column), np.arange(num))
        assert abs(mixed.shares.sum() - 1) < 1e-6
        assert (mixed.shares >= 0).all()
        canvas = np.full((13, 17), -1)
        for k, (top, left, height, width, from_top, from_left) in enumerate(mixed.boxes):
            assert 0 <= from_top <= 13 - height
            assert 0 <= from_left <= 17 - width
            canvas[top : top + height, left : left + width] = k
        assert (canvas >= 0).all()
        if not isinstance(mixer, Mixup):
            areas = np.bincount(canvas.ravel(), minlength=len(mixed.shares)) / canvas.size
            assert np.allclose(mixed.shares, areas, atol=1e-6)
        if not isinstance(mixer, RICAP):
            assert np.array_equal(mixed.partners[:, 0], np.arange(num))


def test_shares_of_mixup_are_exact():
    mixed = draw_mix(Mixup(), 3, 0, 8, 32, 32)
    assert mixed.shares.tolist() == [mixed.blend / ONE, 1 - mixed.blend / ONE]


def test_the_known_figures_of_ricap_and_mixup():
    """At 0.3: the largest RICAP fraction averages .75, a tenth of the batches is one whole image, 2.8 patches are seen;
    mixup's fraction is below .5 in half and one of the two is above .95 in 46 % of the batches."""
    shares = np.array([draw_mix(RICAP(), 1, i, 2, 32, 32).shares for i in range(4000)])
    assert abs(shares.max(axis=1).mean() - 0.75) < 0.015
    assert abs((shares.max(axis=1) == 1).mean() - 0.10) < 0.03
    assert abs((shares > 0).sum(axis=1).mean() - 2.8) < 0.1
    fraction = np.array([draw_mix(Mixup(), 1, i, 2, 32, 32).shares[0] for i in range(4000)])
    assert abs((fraction < 0.5).mean() - 0.5) < 0.04
    assert abs((np.maximum(fraction, 1 - fraction) > 0.95).mean() - 0.46) < 0.04


def test_offsets_and_centres_are_uniform():
    ricap = [draw_mix(RICAP(1.0), 5, i, 1, 32, 32).boxes for i in range(6000)]
    for k in range(4):
        half = np.array([boxes[k, 4:] for boxes in ricap if boxes[k, 2] == 16])[:, 0]
        assert chi_square(np.bincount(half, minlength=17)) > 1e-4
    # The centre of a box that no border cuts is its middle; boxes of 22 pixels are whole around the pixels 12 to 20.
    boxes = [draw_mix(CutMix(100.0), 5, i, 1, 32, 32).boxes[1] for i in range(6000)]
    inner = np.array([top + height // 2 for top, _, height, *_ in boxes if top > 0 and top + height < 32])
    assert chi_square(np.bincount(inner, minlength=32)[12:21]) > 1e-4


def test_ranks_batches_and_epochs_mix_differently():
    drawn = [draw_mix(Mixup(), key, first, 64, 8, 8) for key in (1, 2) for first in (0, 1, 64)]
    assert len({mixed.blend for mixed in drawn}) == 6
    assert len({mixed.partners.tobytes() for mixed in drawn}) == 6
    again = draw_mix(Mixup(), 2, 64, 64, 8, 8)
    assert again.partners.tobytes() == drawn[-1].partners.tobytes()


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_pixels_are_those_of_the_formula(betons, mixer, dtype):
    """Mixed by hand from an unmixed batch."""
    plan = EpochPlan(np.arange(60) % 40, key=77)
    options = {"backend": "fused", "dtype": dtype}
    plain = make_loader(betons["odd"].path, 16, augment=PLAIN, **options)
    loader = make_loader(betons["odd"].path, 16, augment=dataclasses.replace(PLAIN, mixer=mixer), **options)
    for n, (one, got) in enumerate(zip(plain.epoch(plan), loader.epoch(plan), strict=True)):
        images = one.images.permute(0, 2, 3, 1).numpy()
        num, height, width, _ = images.shape
        mixed = draw_mix(mixer, plan.key, 16 * n, num, height, width)
        wanted = np.empty_like(images)
        for i, y, x in np.ndindex(num, height, width):
            if isinstance(mixer, Mixup):
                a, b = (images[j, y, x] for j in mixed.partners[i])
                fraction = mixed.shares[0]
                exact = fraction * a.astype(np.float64) + (1 - fraction) * b.astype(np.float64)
                wanted[i, y, x] = np.floor(exact + 0.5) if dtype == torch.uint8 else fraction * a + (1 - fraction) * b
            else:
                for k, (top, left, h, w, from_top, from_left) in enumerate(mixed.boxes):
                    if top <= y < top + h and left <= x < left + w:
                        wanted[i, y, x] = images[mixed.partners[i, k], y - top + from_top, x - left + from_left]
        assert np.array_equal(got.images.permute(0, 2, 3, 1).numpy(), wanted)
        assert torch.equal(got.mix.partners, torch.from_numpy(mixed.partners))
        assert torch.equal(got.mix.shares, torch.from_numpy(mixed.shares))
        assert torch.equal(got.labels, one.labels)


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
def test_mixing_depends_on_neither_threads_nor_where_an_epoch_starts(betons, mixer):
    def batches(num_threads: int, start: int) -> list[torch.Tensor]:
        augment = dataclasses.replace(PLAIN, mixer=mixer)
        loader = make_loader(betons["square"].path, 7, augment=augment, backend="fused", num_threads=num_threads)
        return [batch.images.clone() for batch in loader.epoch(EpochPlan(np.arange(30), key=5), start)]

    whole = batches(1, 0)
    assert len(whole) == 5
    for num_threads, start in ((2, 0), (7, 0), (3, 2)):
        got = batches(num_threads, start)
        assert all(torch.equal(a, b) for a, b in zip(got, whole[start:], strict=True))


def test_bad_parameters_get_one_sentence():
    for make in (Mixup, CutMix, RICAP):
        for value in (0, -1.0, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="is a number > 0, got"):
                make(value)
    with pytest.raises(ValueError, match=r"mixer is None, or a value such as .* got 'ricap'"):
        Augment(mixer="ricap")
