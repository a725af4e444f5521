import numpy as np
import pytest

from convert.shapes import CLASSES, make_shapes
from loaders.formats.manifest import labels_digest, pixels_digest


def test_golden():
    """Users compare results across machines and versions: these bytes must never change."""
    images, labels = make_shapes(300)
    assert labels[:20].tolist() == [0, 7, 4, 4, 5, 0, 8, 7, 8, 5, 6, 9, 1, 4, 6, 5, 1, 0, 6, 7]
    assert pixels_digest(images) == "db73bcf0529458c9d248d26049097cc6f2d2017b0180265f4712156e11aed42f"
    assert labels_digest(labels, 10) == "9593185b082199f9ee92a2ab6c5c7a924b8718b5e2983487388faf0c27458f98"
    assert pixels_digest(make_shapes(300, split="test")[0]) == (
        "9401e950065cef0d6fe6c6e8e6db69bf007c58073544a0f68aaca32f28f2fe85"
    )


def test_form_and_balance():
    images, labels = make_shapes(2000)
    assert (images.shape, images.dtype, labels.dtype) == ((2000, 32, 32, 3), np.uint8, np.int64)
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert counts.min() > 150
    assert counts.max() < 250


@pytest.mark.parametrize("num_samples", [1, 249, 250, 251, 600])
def test_a_longer_set_begins_with_the_shorter(num_samples):
    images, labels = make_shapes(700, seed=3)
    fewer_images, fewer_labels = make_shapes(num_samples, seed=3)
    np.testing.assert_array_equal(fewer_images, images[:num_samples])
    np.testing.assert_array_equal(fewer_labels, labels[:num_samples])


def test_seeds_and_splits_share_nothing():
    sets = [make_shapes(50, seed, split)[0] for seed in (0, 1) for split in ("train", "test")]
    distinct = {image.tobytes() for images in sets for image in images}
    assert len(distinct) == 200


def test_global_generator_is_not_touched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_shapes(10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_class_means_do_not_solve_it():
    """Ten classes by nearest mean image: little above chance, so a network has something to learn."""
    images, labels = make_shapes(3000)
    means = np.stack([images[labels == label].mean(axis=0).ravel() for label in range(10)])
    others, truth = make_shapes(1000, split="test")
    distances = (means**2).sum(axis=1) - 2.0 * others.reshape(1000, -1).astype(np.float64) @ means.T
    assert (distances.argmin(axis=1) == truth).mean() < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples is 0, allowed: 1 or more"),
        ({"num_samples": 1, "seed": -1}, "seed is -1, allowed: 0 to 2"),
        ({"num_samples": 1, "split": "val"}, "split is 'val', allowed: train, test"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_shapes(**arguments)
