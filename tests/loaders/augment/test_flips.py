"""Flips: left to right, top to bottom, and the other side in each next epoch; and pixels that must never change."""

import hashlib

import numpy as np
import pytest
import torch

from convert.writers.beton import write_beton
from loaders import Augment, ColorJitter, EpochPlan, IndexScheduler, RandomErasing, make_loader
from loaders.augment.draws import VERTICAL_FLIP, alternating_sides, draw

N = 97


def pixels(path, augment: Augment, plan: EpochPlan, batch_size: int = 40, **options) -> np.ndarray:
    """uint8 [K, H, W, 3]"""
    loader = make_loader(path, batch_size, dtype=torch.uint8, augment=augment, **options)
    return np.concatenate([batch.images.permute(0, 2, 3, 1).numpy() for batch in loader.epoch(plan)])


def sides(beton, plan: EpochPlan, augment: Augment) -> dict[int, bool]:
    """Whether each image of a plan is mirrored; it is one of both."""
    found = {}
    for sample, shown in zip(plan.ids.tolist(), pixels(beton.path, augment, plan), strict=True):
        found[sample] = np.array_equal(shown, beton.images[sample][:, ::-1])
        assert found[sample] or np.array_equal(shown, beton.images[sample])
    return found


def test_an_alternating_flip_shows_the_other_side_in_each_next_epoch(betons):
    scheduler, augment = IndexScheduler(N, seed=8), Augment(flip="alternating")
    epochs = [sides(betons["odd"], scheduler.plan(epoch), augment) for epoch in range(4)]
    first = {sample: epochs[0][sample] for sample in range(N)}
    assert 30 < sum(first.values()) < 67, "a coin per image"
    for epoch, found in enumerate(epochs):
        assert found == {sample: side ^ (epoch % 2 == 1) for sample, side in first.items()}


def test_the_coin_of_an_image_depends_on_seed_and_id_alone(betons):
    augment = Augment(flip="alternating")
    whole = sides(betons["odd"], IndexScheduler(N, seed=8).plan(6), augment)
    part = IndexScheduler(N, budget=0.5, seed=8).plan(2)
    for plan in (part, part.shard(1, 3)):
        assert sides(betons["odd"], plan, augment).items() <= whole.items()
    other = sides(betons["odd"], IndexScheduler(N, seed=9).plan(6), augment)
    assert 30 < sum(other[sample] != side for sample, side in whole.items()) < 67


def test_coins_are_fair_and_independent_of_the_flips_by_position():
    plan = EpochPlan(np.arange(10_000), key=3, run_key=4)
    assert abs(alternating_sides(plan).mean() - 0.5) < 0.02
    assert alternating_sides(plan, 20, 25).tolist() == alternating_sides(plan)[20:25].tolist()


@pytest.mark.parametrize("padding", [{}, {"crop_padding": 3}, {"crop_padding": 3, "pad_mode": "reflect"}])
def test_a_vertical_flip_turns_what_was_cropped(betons, padding):
    plan = EpochPlan(np.arange(N), key=2**62 + 3)
    plain = pixels(betons["odd"].path, Augment(**padding), plan)
    turned = draw(plan.key, plan.positions, VERTICAL_FLIP, 2)
    assert 30 < turned.sum() < 67
    wanted = np.stack([image[::-1] if turn else image for image, turn in zip(plain, turned, strict=True)])
    assert np.array_equal(pixels(betons["odd"].path, Augment(**padding, vertical_flip=True), plan), wanted)


GOLDEN = {
    "crop, flip, cutout": (Augment(crop_padding=3, flip=True, cutout=4), "a20b9aad5089c4ef"),
    "alternating, vertical": (Augment(crop_padding=3, flip="alternating", vertical_flip=True), "95b347b20e3c2427"),
    "jitter": (Augment(color_jitter=ColorJitter(0.4, 0.4, 0.4)), "5ec8e8d3ae74e246"),
    "erasing": (Augment(erasing=RandomErasing(value="random"), flip=True), "8a38a4b6798bc8c3"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pixels(tmp_path, name):
    """What a seed has once shown, it shows forever: the first draws of each kind, as SHA-256 of the bytes."""
    ramp = (np.arange(12 * 9 * 10 * 3) * 37 % 256).astype(np.uint8).reshape(12, 9, 10, 3)
    write_beton(tmp_path / "ramp.beton", ramp, np.arange(12))
    augment, wanted = GOLDEN[name]
    shown = pixels(tmp_path / "ramp.beton", augment, IndexScheduler(12, seed=5).plan(1))
    assert hashlib.sha256(shown.tobytes()).hexdigest()[:16] == wanted
