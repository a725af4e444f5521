"""mini-ImageNet from small images in ImageNet's layout and few-shot lists in theirs."""

import numpy as np
import pytest
from PIL import Image

from convert.mini_imagenet import convert_mini_imagenet
from convert.sources.mini_imagenet import divided
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset

LISTS = {"train": ("n01532829", "n01558993"), "val": ("n02091244",), "test": ("n01855672",)}
PER_CLASS = 12


def colour(label: str, rank: int) -> tuple[int, int, int]:
    return int(label[-2:]), int(label[-4:-2]), 10 * rank


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """Three lists that name every second of 24 images of a class, the first being number 1."""
    folder = tmp_path_factory.mktemp("lists")
    for name, labels in LISTS.items():
        rows = [f"{label}{2 * k + 1:08d}.jpg,{label}" for label in labels for k in range(PER_CLASS)]
        (folder / f"{name}.csv").write_text("\n".join(["filename,label", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Images n/n_37.JPEG; their numbers have gaps, and sorted as text they are in another order."""
    folder = tmp_path_factory.mktemp("imagenet")
    for label in sum(LISTS.values(), ()):
        (folder / label).mkdir()
        for rank in range(2 * PER_CLASS):
            image = Image.new("RGB", (100 + rank, 90), colour(label, rank))
            image.save(folder / label / f"{label}_{7 * rank + 3}.JPEG", "PNG")  # ImageNet has such a one
    return folder


@pytest.mark.parametrize("split", ["reference", "stratified"])
def test_images_are_found_by_their_number(imagenet, lists, tmp_path, split):
    convert_mini_imagenet(imagenet, lists, tmp_path, split, "dali")
    manifest = read_manifest(tmp_path / "mini_imagenet")
    classes = sorted(sum(LISTS.values(), ()))
    assert (manifest.image_shape, manifest.classes, manifest.verified) == ((84, 84, 3), tuple(classes), False)
    listed = [(label, 2 * k) for labels in LISTS.values() for label in labels for k in range(PER_CLASS)]
    order = np.random.RandomState(42).permutation(48)
    expected = {"train": [listed[i] for i in order[:40]], "test": [listed[i] for i in order[40:]]}
    for name in expected:
        dataset = open_dataset(tmp_path / "mini_imagenet" / f"{name}.tar")
        colours = [tuple(dataset[i][0][40, 40].tolist()) for i in range(len(dataset))]
        if split == "reference":
            assert dataset.labels.tolist() == [classes.index(label) for label, _ in expected[name]]
            assert colours == [colour(*image) for image in expected[name]]
        else:
            assert np.bincount(dataset.labels).tolist() == [10 if name == "train" else 2] * 4
            assert colours == [colour(*i) for i in listed if colour(*i) in set(colours)], "in the order of the lists"


def test_images_that_are_called_as_in_the_lists_keep_their_pixels(lists, tmp_path, capsys):
    random = np.random.Generator(np.random.Philox(3))
    pixels = {}
    for name in LISTS:
        for row in (lists / f"{name}.csv").read_text().splitlines()[1:]:
            file, label = row.split(",")
            pixels[file] = random.integers(0, 256, (84, 84, 3), np.uint8)
            (tmp_path / "images" / name / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[file]).save(tmp_path / "images" / name / label / file, "PNG")
    convert_mini_imagenet(tmp_path / "images", lists, tmp_path, "stratified", "dali")
    dataset, (train, _) = open_dataset(tmp_path / "mini_imagenet" / "train.tar"), divided(np.arange(48) // 12, True)
    for sample, position in enumerate(train.tolist()):
        np.testing.assert_array_equal(dataset[sample][0], list(pixels.values())[position])
    capsys.readouterr()
    convert_mini_imagenet(tmp_path / "images", lists, tmp_path, "stratified", "dali")
    assert "is already there" in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds another split"):
        convert_mini_imagenet(tmp_path / "images", lists, tmp_path, "reference", "dali")


def test_the_division_of_arazo_et_al():
    train, test = divided(np.arange(60_000) // 600, stratified=False)
    assert train[:5].tolist() == [12628, 37730, 39991, 8525, 8279]  # numpy.random.seed(42); numpy.random.permutation
    assert (len(train), len(test), len({*train.tolist(), *test.tolist()})) == (50_000, 10_000, 60_000)
    train, test = divided(np.arange(60_000) // 600, stratified=True)
    assert set(np.bincount(train // 600).tolist()) == {500}
    assert set(np.bincount(test // 600).tolist()) == {100}


def test_what_is_missing_is_said(imagenet, lists, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"train\.csv does not exist: fetch train\.csv, val\.csv, test\.csv from"
    ):
        convert_mini_imagenet(imagenet, tmp_path, tmp_path, format="dali")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: give ImageNet's training set"):
        convert_mini_imagenet(tmp_path / "nowhere", lists, tmp_path, format="dali")
    for label in LISTS["train"]:
        (tmp_path / label).symlink_to(imagenet / label)
    with pytest.raises(ValueError, match=r"lacks 24 of 48 images, such as n0209124400000001\.jpg, needed: ImageNet's"):
        convert_mini_imagenet(tmp_path, lists, tmp_path, format="dali")
    assert not (tmp_path / "mini_imagenet" / "manifest.json").exists()
