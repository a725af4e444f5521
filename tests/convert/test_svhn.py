"""SVHN's official form: images along the last axis, the digit 0 as label 10."""

import sys

import numpy as np
import pytest

from convert import svhn
from convert.sources import svhn_mat
from convert.sources.checksum import file_md5
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of two tiny files in the official form, whose checksums count as published; and what they hold."""
    savemat = pytest.importorskip("scipy.io", reason="needs the extra rebar-loaders[svhn]").savemat
    random, arrays, files = np.random.Generator(np.random.Philox(4)), {}, {}
    for split, (name, _) in svhn_mat.FILES.items():
        images = random.integers(0, 256, (21, 32, 32, 3), np.uint8)
        arrays[split] = images, np.arange(21) % 10
        labels = np.where(arrays[split][1], arrays[split][1], 10).astype(np.uint8)[:, None]
        savemat(tmp_path / name, {"X": images.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
        files[split] = name, file_md5(tmp_path / name)
    monkeypatch.setattr(svhn_mat, "FILES", files)
    return tmp_path, arrays


def test_images_and_labels_come_through(source, tmp_path):
    folder, arrays = source
    svhn.convert_svhn(folder, tmp_path / "data", format="dali")
    manifest = read_manifest(tmp_path / "data" / "svhn")
    assert (manifest.name, manifest.classes, manifest.image_shape) == ("svhn", tuple("0123456789"), (32, 32, 3))
    assert manifest.verified
    for split, (images, labels) in arrays.items():
        dataset = open_dataset(tmp_path / "data" / "svhn" / f"{split}.tar")
        np.testing.assert_array_equal(dataset.labels, labels)
        assert dataset.image_shape == (32, 32, 3)
        np.testing.assert_array_equal(
            svhn_mat.read_mat(folder / svhn_mat.FILES[split][0], svhn_mat.FILES[split][1])[0], images
        )


def test_done_already(source, tmp_path, capsys):
    folder, _ = source
    for _ in range(2):
        svhn.convert_svhn(folder, tmp_path / "data", format="dali")
    assert "is already there" in capsys.readouterr().out


def test_what_will_not_do(source, tmp_path, monkeypatch):
    folder, _ = source
    path = folder / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"test_32x32\.mat has the wrong checksum: its MD5 is .*, the published"):
        svhn.convert_svhn(folder, tmp_path / "data", format="dali")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"does not exist: fetch http.*/test_32x32\.mat and give its folder"):
        svhn.convert_svhn(folder, tmp_path / "data", format="dali")
    assert not (tmp_path / "data" / "svhn" / "manifest.json").exists()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    name, md5 = svhn_mat.FILES["train"]
    with pytest.raises(ImportError, match=r"reading \.mat files needs SciPy .*: pip install scipy"):
        svhn_mat.read_mat(folder / name, md5)


def test_the_two_files_are_looked_for_and_then_said_how_to_get(source, tmp_path, monkeypatch, capsys):
    folder, _ = source
    monkeypatch.setattr(svhn_mat, "ADDRESS", "http://127.0.0.1:9/")  # the discard port: nothing listens there
    (tmp_path / "data" / "svhn").mkdir(parents=True)
    with pytest.raises(ConnectionError, match=r"no place has SVHN \(.*cannot be reached.*: fetch train_32x32\.mat and"):
        svhn.convert_svhn(root=tmp_path / "data", format="dali")
    for name, _ in svhn_mat.FILES.values():
        (folder / name).replace(tmp_path / "data" / "svhn" / name)
    svhn.convert_svhn(root=tmp_path / "data", format="dali")
    assert "read back: 42 samples as the manifest says" in capsys.readouterr().out
