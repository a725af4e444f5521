import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from loaders.formats.manifest import (
    FileEntry,
    Manifest,
    Split,
    channel_statistics,
    file_entry,
    labels_digest,
    missing_files,
    pixels_digest,
    read_manifest,
    write_manifest,
)

MANIFEST = Manifest(
    name="tiny",
    image_shape=(32, 32, 3),
    classes=("a", "b"),
    mean=(0.1, 0.2, 1 / 3),
    std=(0.5, 0.25, 0.125),
    source="a test",
    verified=False,
    note="because",
    splits={"train": Split(5, "aa", "bb", {"train.beton": FileEntry(3, "cc")})},
)


def test_round_trip(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_values_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MANIFEST.name = "other"


def test_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: convert a data set into this folder first"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], "is not valid JSON .* delete it and convert again"),
        (
            lambda text: text.replace('"schema_version": 1', '"schema_version": 9'),
            "schema version 9, this code reads 1",
        ),
        (lambda text: text.replace('"schema_version": 1', f'"schema_version": {[7] * 9999}'), "^.{0,400}$"),
        (lambda text: text.replace('"mean"', '"' + "m" * 99999 + '"'), "^.{0,400}$"),
        (lambda text: "[" * 99999, "is not valid JSON"),
        (lambda text: "[]", "schema version None, this code reads 1"),
        (lambda text: text.replace('"mean"', '"meen"'), r"has the unknown key 'meen': delete it"),
        (lambda text: text.replace('"num_samples"', '"samples"'), r"train has the unknown key 'samples': delete it"),
    ],
)
def test_damaged(tmp_path, change, message):
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../home/x", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "a\nb", "../" * 9999])
def test_only_plain_file_names_are_accepted(tmp_path, name):
    """Readers join them to the folder, and a conversion deletes what they name."""
    split = dataclasses.replace(MANIFEST.splits["train"], files={name: FileEntry(3, "cc")})
    write_manifest(tmp_path, dataclasses.replace(MANIFEST, splits={"train": split}))
    with pytest.raises(
        ValueError, match="allowed is the plain name of a file beside it, or in the folder of its split"
    ) as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_missing_files_sees_absence_and_size(tmp_path):
    assert missing_files(tmp_path, MANIFEST) == ("train.beton",)
    (tmp_path / "train.beton").write_bytes(b"12")
    assert missing_files(tmp_path, MANIFEST) == ("train.beton",)
    (tmp_path / "train.beton").write_bytes(b"123")
    assert missing_files(tmp_path, MANIFEST) == ()


def test_statistics_are_those_of_numpy():
    images = np.random.Generator(np.random.Philox(1)).integers(0, 256, (20, 8, 8, 3), np.uint8)
    mean, std = channel_statistics(images)
    scaled = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=0), rtol=1e-12)


def test_digests(tmp_path):
    labels = np.array([0, 1, 2])
    assert labels_digest(labels, 10) == pixels_digest(labels.astype(np.uint8))
    assert labels_digest(labels, 1000) != labels_digest(labels, 10)
    (tmp_path / "f").write_bytes(bytes([0, 1, 2]))
    assert file_entry(tmp_path / "f") == FileEntry(3, labels_digest(labels, 10))


def test_json_is_plain(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    values = json.loads((tmp_path / "manifest.json").read_text())
    assert values["splits"]["train"]["files"]["train.beton"] == {"num_bytes": 3, "sha256": "cc"}
    assert values["schema_version"] == 1


def test_importing_the_manifest_brings_neither_ffcv_nor_torch():
    code = (
        "import sys, loaders.formats.manifest, convert.writers.dataset, convert.cifar, convert.shapes\n"
        "print({'ffcv', 'torch', 'numba', 'nvidia', 'training'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_an_inventory_is_kept_where_there_is_one(tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(tmp_path, MANIFEST)
    assert "inventory" not in json.loads(path.read_text("utf-8"))
    told = dataclasses.replace(MANIFEST, inventory={"left_out": {"a ä": 1}, "notes": ["x"]})
    write_manifest(tmp_path, told)
    assert read_manifest(tmp_path) == told
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"inventory": []}))
    with pytest.raises(ValueError, match=r"inventory is \[\], needed: an object"):
        read_manifest(tmp_path)
