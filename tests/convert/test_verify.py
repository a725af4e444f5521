"""A converted folder is whole, or the file that is not is named."""

import dataclasses
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.checks.regions import regions
from convert.checks.sheet import shown_ids
from convert.folder import convert_folder
from convert.verify import verify
from convert.writers.dataset import write_dataset
from convert.writers.tar import write_tar
from loaders.formats.manifest import file_entry, read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def raw(arrays, tmp_path_factory):
    """A folder of raw images in both formats."""
    folder = tmp_path_factory.mktemp("raw")
    write_dataset(folder, "raw", arrays, tuple("abcdefghij"), format="both", source="a test", verified=False)
    return folder


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    """A folder of JPEG in both formats."""
    folder = tmp_path_factory.mktemp("jpeg")
    for number in range(6):
        path = folder / "source" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20 + number, 30, 3), 40 * number, np.uint8)).save(path)
    convert_folder(folder / "source", folder / "made", format="both")
    return folder / "made"


@pytest.fixture
def copy(raw, tmp_path):
    """A copy of the raw folder, to break."""
    return shutil.copytree(raw, tmp_path / "copy")


def restate(folder: Path, name: str) -> None:
    """Let the manifest vouch for a file as it is now."""
    manifest = read_manifest(folder)
    split = manifest.splits[name.partition(".")[0]]
    split.files[name] = file_entry(folder / name)
    write_manifest(folder, manifest)


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_a_whole_folder_is_well(request, kind, capsys):
    folder = request.getfixturevalue(kind)
    capsys.readouterr()  # what its making said
    verify(folder)
    out = capsys.readouterr().out
    splits = read_manifest(folder).splits
    for split, entry in splits.items():
        for name in entry.files:
            assert f"ok  {name}\n" in out
        assert f"ok  {split}.beton and {split}.tar hold the same samples, id by id\n" in out
    assert len(splits) == (2 if kind == "raw" else 1)
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.height > 200


def test_a_folder_that_takes_no_sheet_is_verified_all_the_same(raw, capsys, monkeypatch):
    def full(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("convert.checks.sheet.draw_sheet", full)
    verify(raw)
    said = "contact_sheet.png cannot be written (Read-only file system): --sheet PATH draws it elsewhere"
    assert said in capsys.readouterr().out
    with pytest.raises(OSError, match="Read-only"):
        verify(raw, raw / "mine.png")


def broken(folder: Path, capsys) -> str:
    """The line of the one file that is not well."""
    with pytest.raises(ValueError, match=rf"^1 of 6 files differ from the manifest of {folder}"):
        verify(folder)
    lines = capsys.readouterr().out.splitlines()
    bad = [line for line in lines if line.startswith("BAD ")]
    assert len(bad) == 1
    assert len(lines) == 6 + 2
    return bad[0]


def test_missing_cut_and_flipped(copy, capsys):
    path = copy / "train.idx"
    whole = path.read_bytes()
    path.unlink()
    # The tar cannot be opened without its index, so two files are named.
    with pytest.raises(ValueError, match=r"^2 of 6"):
        verify(copy)
    out = capsys.readouterr().out
    assert "BAD train.idx: it is missing" in out
    assert re.search(r"BAD train\.tar: .* needs its index", out)
    path.write_bytes(whole)
    path = copy / "test.beton"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-1])
    assert re.fullmatch(r"BAD test\.beton: it has [\d,]+ bytes, the manifest says [\d,]+", broken(copy, capsys))
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "BAD test.beton: its SHA-256 is" in broken(copy, capsys)


def test_a_tar_that_does_not_agree_with_the_beton(arrays, copy, capsys):
    images, labels = arrays["test"]
    for changed, sentence in (
        ((images ^ np.uint8(1), labels), "its images have another checksum than in the manifest"),
        ((images, labels[::-1]), "its labels have another checksum than in the manifest"),
        ((images[1:], labels[1:]), "it holds 9 samples, the manifest says 10"),
    ):
        write_tar(copy / "test.tar", *changed)
        restate(copy, "test.tar")
        restate(copy, "test.idx")
        assert broken(copy, capsys) == f"BAD test.tar: {sentence}"


def test_samples_that_differ_between_the_formats_are_named(arrays, copy, capsys):
    images, labels = (array.copy() for array in arrays["train"])
    images[17, 3, 4, 1] ^= 1
    labels[31] = (labels[31] + 1) % 10
    write_tar(copy / "train.tar", images, labels)
    with pytest.raises(ValueError, match=r"^1 of 6"):  # the index is as it was
        verify(copy)
    out = capsys.readouterr().out
    assert "    train.beton and train.tar differ in 2 samples: 17, 31\n" in out
    assert "; its images have another checksum than in the manifest; its labels have another" in out


def test_damage_around_the_images_is_told_from_damage_in_them(copy, capsys):
    path = copy / "train.tar"
    content = bytearray(path.read_bytes())
    content[0] ^= 1  # the first member's name
    path.write_bytes(content)
    assert broken(copy, capsys).endswith("; its images and labels are well, so it differs in what lies around them")


def test_a_contact_sheet_shows_some_of_many_classes():
    labels = np.arange(1000) % 150
    shown = shown_ids(labels, 150)
    assert (len(shown), min(shown), max(shown)) == (20, 0, 149)
    for label, ids in shown.items():
        assert set(labels[ids]) == {label}
        assert len(ids) == np.count_nonzero(labels == label)
    assert [len(ids) for ids in shown_ids(np.zeros(30, int), 2).values()] == [10, 0]


def test_regions_cover_a_file(raw):
    for name in ("train.beton", "train.tar", "train.idx"):
        assert sum(region.num_bytes for region in regions(raw / name)) == (raw / name).stat().st_size
    assert [region.name for region in regions(raw / "train.beton")][::3] == ["header and fields", "allocation table"]


def test_a_file_that_the_reader_refuses(copy, capsys):
    (copy / "train.beton").write_bytes(b"no beton" * 10)
    restate(copy, "train.beton")
    assert "is not a whole .beton file" in broken(copy, capsys)


def test_the_command_line(raw, copy, tmp_path):
    def call(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "convert.verify", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, cwd=ROOT)

    whole = call(str(raw))
    assert (whole.returncode, whole.stderr, whole.stdout.count("ok  ")) == (0, "", 6 + 2)
    manifest = read_manifest(copy)
    train = dataclasses.replace(manifest.splits["train"], labels_sha256="0" * 64)
    write_manifest(copy, dataclasses.replace(manifest, splits={**manifest.splits, "train": train}))
    wrong = call(str(copy))
    assert wrong.returncode == 1
    assert wrong.stdout.count("BAD train.") == 2
    assert wrong.stderr.startswith("error: 2 of 6 files")
    nowhere = call(str(tmp_path / "nowhere"))
    assert nowhere.returncode == 1
    assert "does not exist: convert a data set into this folder first" in nowhere.stderr
