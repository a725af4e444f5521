"""Near duplicates: the blocks of cosines against all cosines at once, the measure of pixels, and the groups."""

import numpy as np
import pytest
import torch

from tests.conftest import photographs
from training.inspect import duplicates
from training.inspect.answers import outline
from training.inspect.duplicates import (
    MOST_DIFFERENCE,
    Pairs,
    candidates,
    difference,
    directions,
    groups,
    near_duplicates,
    shrunk,
)


def vectors(num: int, width: int, seed: int) -> torch.Tensor:
    """Random directions, with every tenth near the one before it."""
    values = np.random.default_rng(seed).normal(size=(num, width))
    values[9::10] = values[8::10] + 0.05 * values[9::10]
    return torch.nn.functional.normalize(torch.from_numpy(values), dim=1).half()


def brute_force(values: torch.Tensor, families: np.ndarray) -> set[tuple[int, int]]:
    near = (values.double() @ values.double().T).numpy() >= duplicates.LEAST_COSINE
    same = families[:, None] == families[None]
    return {(int(i), int(j)) for i, j in np.argwhere(np.triu(near & same, 1))}


@pytest.mark.parametrize("all_with_all", [1000, 10])
def test_blocks_find_what_all_cosines_at_once_find(monkeypatch, all_with_all):
    for name, value in (("_ROWS", 7), ("_COLUMNS", 30), ("ALL_WITH_ALL", all_with_all)):
        monkeypatch.setattr(duplicates, name, value)
    values, guesses = vectors(101, 24, 0), np.random.default_rng(1).integers(0, 3, 101)
    done = []
    first, second = candidates(values, guesses, lambda: done.append(1))
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    assert found == brute_force(values, guesses if all_with_all == 10 else np.zeros(101))
    assert len(found) == len(first) > 2
    assert len(done) == duplicates.num_blocks(guesses)


def test_no_more_pairs_than_allowed_and_the_closest_of_them(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 4)
    first, second = candidates(vectors(100, 24, 0), np.zeros(100, int))
    assert (len(first), set(second - first)) == (4, {1})


def test_the_difference_knows_brightness_mirrors_and_shifts():
    image, other = photographs(2, 48, 40, 3)
    wide = photographs(1, 51, 43, 3)[0]
    alike = {
        "itself": image,
        "mirrored": image[:, ::-1],
        "brighter": (image * 0.9 + 25).astype(np.uint8),
        "noisy": (image + np.random.default_rng(0).integers(-6, 7, image.shape)).clip(0, 255).astype(np.uint8),
    }
    apart = {name: difference(*(shrunk(each)[None] for each in (image, seen)))[0] for name, seen in alike.items()}
    assert max(apart["itself"], apart["mirrored"]) < 0.01
    assert max(apart.values()) < MOST_DIFFERENCE / 2
    assert difference(shrunk(wide[3:, 3:])[None], shrunk(wide[:-3, :-3])[None])[0] < MOST_DIFFERENCE
    assert difference(shrunk(image)[None], shrunk(other)[None])[0] > 2 * MOST_DIFFERENCE


def test_noise_on_flat_images_is_no_difference():
    flat = np.random.default_rng(0).integers(100, 103, (2, 32, 32, 3)).astype(np.uint8)
    assert difference(shrunk(flat[0])[None], shrunk(flat[1])[None])[0] < MOST_DIFFERENCE


def test_a_vector_holds_two_cosines():
    rng = np.random.default_rng(0)
    features, outlines = (torch.from_numpy(rng.normal(size=(50, width))) for width in (8, 192))
    features += 3
    products = directions(features.half(), outlines.half()).double() @ directions(features, outlines).double().T
    cosines = []
    for part in (features - features.mean(0), outlines):
        unit = part / part.norm(dim=1, keepdim=True)
        cosines.append(unit @ unit.T)
    assert torch.allclose(products, (cosines[0] + cosines[1]) / 2, atol=3e-3)


def test_an_outline_knows_no_brightness_and_no_mirror():
    images = torch.from_numpy(photographs(5, 24, 40, 2)).permute(0, 3, 1, 2).float()
    plain = outline(images)
    assert plain.shape == (5, 192)
    assert torch.allclose(plain, outline(images.flip(3)), atol=1e-3)
    assert torch.allclose(plain, outline(images + 20), atol=1e-3)
    assert not torch.allclose(plain, outline(images.flip(2)), atol=1)


def test_close_vectors_alone_make_no_duplicates():
    images = photographs(20, 32, 32, 5)
    images[1] = images[0]
    same = vectors(20, 300, 0)
    same[1] = same[3] = same[2] = same[0]
    found = near_duplicates(same, np.zeros(20, int), images.__getitem__)
    assert (found.first.tolist(), found.second.tolist()) == ([0], [1])
    assert found.difference == pytest.approx([0], abs=0.01)


def test_without_candidates_there_are_no_pairs():
    found = near_duplicates(torch.eye(6).half(), np.zeros(6, int), photographs(6, 8, 8, 0).__getitem__)
    assert len(found.first) == len(found.second) == len(found.difference) == 0
    assert groups(found, 6).tolist() == [-1] * 6


def test_a_group_is_all_that_pairs_connect():
    pairs = Pairs(np.array([5, 2, 3, 0]), np.array([6, 5, 8, 9]), np.zeros(4, np.float32))
    assert groups(pairs, 10).tolist() == [0, -1, 2, 3, -1, 2, 2, -1, 3, 0]
