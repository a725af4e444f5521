import numpy as np
import pytest

from convert.derive import choose, derive, mislabel, repeat, shrink
from convert.shapes import make_shapes
from convert.writers.dataset import write_dataset
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset


def test_a_subset_has_its_part_of_each_class():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    images = np.arange(1000, dtype=np.uint32).view(np.uint8).reshape(1000, 2, 2, 1)
    kept, kept_labels = choose(images, labels, 100, seed=0)
    assert np.bincount(kept_labels).tolist() == [60, 30, 10]
    ids = kept.reshape(-1, 4).copy().view(np.uint32)[:, 0]
    assert (np.diff(ids.astype(int)) > 0).all()
    assert (labels[ids] == kept_labels).all()
    other, _ = choose(images, labels, 100, seed=1)
    assert not np.array_equal(kept, other)
    for samples in (1, 7, 999, 1000):
        assert len(choose(images, labels, samples, seed=0)[1]) == samples


def test_a_small_pixel_is_the_mean_of_its_area():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    small, _ = shrink((images, np.zeros(2, int)), 2)
    means = images.reshape(2, 2, 2, 2, 2, 3).astype(float).mean((2, 4))
    assert np.abs(small - means).max() <= 0.5
    grey, _ = shrink((images[..., :1], np.zeros(2, int)), 2)
    np.testing.assert_array_equal(grey, small[..., :1])


def test_repeats_are_copies_of_few_and_have_their_fraction():
    images, labels = make_shapes(200)
    many, many_labels = repeat((images, labels), 0.9, 0.01, seed=0)
    assert len(many) == 2000
    _, index, counts = np.unique(many.reshape(2000, -1), axis=0, return_index=True, return_counts=True)
    assert sorted(counts.tolist()) == [1] * 198 + [901, 901]
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert all(known[many[i].tobytes()] == many_labels[i] for i in index)
    assert np.flatnonzero((many == many[index[counts.argmax()]]).all((1, 2, 3))).std() > 400  # all over the file


def test_wrong_labels_are_of_another_class_and_have_their_fraction():
    labels = np.arange(5000) % 10
    wrong = mislabel(labels, 10, 0.2, seed=0)
    assert (wrong != labels).sum() == 1000
    steps = (wrong - labels)[wrong != labels] % 10
    assert np.bincount(steps, minlength=10)[1:].min() > 75  # 111 in the mean
    assert labels.tolist() == (np.arange(5000) % 10).tolist()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("derive") / "shapes"
    splits = {split: make_shapes(count, split=split) for split, count in (("train", 300), ("test", 40))}
    write_dataset(folder, "shapes", splits, tuple("abcdefghij"), source="drawn", verified=False)
    return folder


def test_a_copy_is_the_same_at_each_call_and_its_test_set_is_whole(source, tmp_path):
    for name in "ab":
        derive(source, tmp_path / name, samples=100, size=16, repeats=0.5, repeated=0.1, wrong_labels=0.1)
    first, second = (tmp_path / name / "train.beton" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    train, test = open_dataset(first), open_dataset(tmp_path / "a" / "test.beton")
    assert (train.num_samples, test.num_samples, train.image_shape) == (200, 40, (16, 16, 3))
    assert test.labels.tolist() == open_dataset(source / "test.beton").labels.tolist()
    note = read_manifest(tmp_path / "a").note
    assert note.endswith("samples 100, size 16, repeats 0.5, repeated 0.1, wrong_labels 0.1")
    derive(source, tmp_path / "a", samples=100, size=16, repeats=0.5, repeated=0.1, wrong_labels=0.1)
    with pytest.raises(ValueError, match="holds another data set"):
        derive(source, tmp_path / "a", samples=50)


def test_every_split_is_copied(tmp_path):
    splits = {split: make_shapes(count) for split, count in (("train", 30), ("val", 20))}
    write_dataset(tmp_path / "in", "in", splits, tuple("abcdefghij"), source="drawn", verified=False)
    derive(tmp_path / "in", tmp_path / "out", samples=10, size=16)
    val = open_dataset(tmp_path / "out" / "val.beton")
    assert (val.num_samples, val.image_shape) == (20, (16, 16, 3))
    assert {name: split.num_samples for name, split in read_manifest(tmp_path / "out").splits.items()} == {
        **{"train": 10, "val": 20}
    }


def test_one_class_has_no_wrong_labels(tmp_path):
    images, _ = make_shapes(30)
    write_dataset(tmp_path / "in", "in", {"train": (images, np.zeros(30, int))}, ("a",), source="s", verified=False)
    with pytest.raises(ValueError, match=r"--wrong_labels needs two classes or more, and .*in has 1"):
        derive(tmp_path / "in", tmp_path / "out", wrong_labels=0.2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"samples": 0}, "--samples is 0"),
        ({"samples": 301}, "there are 300 training images"),
        ({"size": 64}, "choose a smaller size"),
        ({"repeats": 1.0}, "--repeats is 1.0"),
        ({"wrong_labels": -0.1}, "--wrong_labels is -0.1"),
        ({"repeated": 0.0}, "--repeated is 0.0"),
    ],
)
def test_a_number_out_of_range_is_one_sentence(source, tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        derive(source, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
