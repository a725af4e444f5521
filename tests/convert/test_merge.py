"""A data set converted in parts by a job array is the one that a single process converts."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from convert.merge import merge
from convert.verify import verify
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset

SPLITS = {"train": 23, "test": 7}
PARTS = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Images of several sizes, some that are kept and some that are encoded anew."""
    folder, rng = tmp_path_factory.mktemp("parts") / "source", np.random.default_rng(0)
    for split, num in SPLITS.items():
        for i in range(num):
            path = folder / split / "ab"[i % 2] / f"{i:02}.{'png' if i % 5 == 0 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            small.resize((40 + i, 50), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture(scope="module")
def whole(source):
    convert_folder(source, source.parent / "whole", format="both")
    return source.parent / "whole"


@pytest.fixture(scope="module")
def parts(source):
    """All parts, not merged, made in another order and with another number of threads each."""
    for number in (2, 3, 1):
        convert_folder(source, source.parent / "big", format="both", part=f"{number}/{PARTS}", workers=number)
    return source.parent / "big"


@pytest.fixture
def big(parts, tmp_path):
    """A copy of the parts, to be merged."""
    return shutil.copytree(parts, tmp_path / "big")


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_merged_set_is_the_one_of_a_single_process(whole, big, capsys):
    merge(big)
    one, many = read_manifest(whole), read_manifest(big)
    for split in SPLITS:
        names = [f"{split}/part-0000{number}-of-0000{PARTS}" for number in (1, 2, 3)]
        assert sorted(many.splits[split].files) == sorted(n + e for n in names for e in (".beton", ".tar", ".idx"))
        without = (dataclasses.replace(manifest.splits[split], files={}) for manifest in (one, many))
        assert next(without) == next(without)
        for ending in ("beton", "tar"):
            joined = open_dataset([big / f"{name}.{ending}" for name in names])
            single = open_dataset(whole / f"{split}.{ending}")
            assert joined.num_samples == single.num_samples
            assert np.array_equal(joined.labels, single.labels)
            assert all(np.array_equal(joined.bytes(i), single.bytes(i)) for i in range(SPLITS[split]))
            assert joined.classes == ("a", "b")
    assert dataclasses.replace(one, name="big", splits={}) == dataclasses.replace(many, splits={})
    assert sorted(path.name for path in big.iterdir()) == ["manifest.json", "test", "train"]
    capsys.readouterr()
    verify(big)
    assert capsys.readouterr().out.count("ok  ") == (3 * 3 + 1) * len(SPLITS)


def test_a_part_has_the_same_bytes_from_any_process(source, parts, tmp_path):
    """Nor do they depend on what else was converted, on threads, or on where the images lie."""
    elsewhere = shutil.copytree(source, tmp_path / "source")
    convert_folder(elsewhere, tmp_path / "x", format="both", part=f"2/{PARTS}", workers=1)
    name = f"part-00002-of-0000{PARTS}"
    assert content(tmp_path / "x" / name) == content(parts / name)


def test_a_merge_that_was_killed_goes_on(big, tmp_path, monkeypatch):
    finished = shutil.copytree(big, tmp_path / "finished" / "big")
    merge(finished)
    wanted = content(finished)
    real, rmtree = os.replace, shutil.rmtree
    for left in (0, 1, 7, 18, 19, 20):
        folder, count = shutil.copytree(big, tmp_path / str(left) / "big"), iter(range(left))

        def stop(action, count=count):
            def call(*args, **options):
                if next(count, None) is None:
                    raise KeyboardInterrupt
                return action(*args, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr("os.replace", stop(real))
            patch.setattr("shutil.rmtree", stop(rmtree))
            with pytest.raises(KeyboardInterrupt):
                merge(folder)
        merge(folder)
        assert content(folder) == wanted


def test_a_second_call_does_nothing(big, capsys):
    merge(big)
    before = content(big)
    merge(big)
    assert "is already there (from source)" in capsys.readouterr().out
    assert content(big) == before


def part_of(folder, number):
    return folder / f"part-0000{number}-of-0000{PARTS}"


def change_manifest(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda big: shutil.rmtree(part_of(big, 2)), "lacks parts: convert them with --part 2/3"),
        (lambda big: (part_of(big, 2) / "manifest.json").unlink(), "not finished are part-00002-of-00003: wait"),
        (
            lambda big: (part_of(big, 3) / "part.json").write_text("{}"),
            "lacks the key 'number': delete .* convert",
        ),
        (lambda big: change_manifest(part_of(big, 2), classes=["a", "c"]), "was made of other classes than part-00001"),
        (lambda big: change_manifest(part_of(big, 2), note="JPEG"), "was made of other settings than part-00001"),
        (lambda big: part_of(big, 1).rename(big / "part-00004-of-00004"), "holds part 1/3: give it its own name back"),
        (lambda big: os.truncate(part_of(big, 2) / "test.tar", 99), "test.tar: it has 99 bytes, the manifest says"),
        (
            lambda big: change_byte(part_of(big, 2) / "train.beton"),
            "train.beton: its SHA-256 is .* delete .*part-00002-of-00003 and convert it again",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_nothing_moves(big, damage, message):
    damage(big)
    before = content(big)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        merge(big)
    assert content(big) == before


def test_parts_of_other_images_are_refused(source, big, tmp_path):
    other = shutil.copytree(source, tmp_path / "source")
    (other / "train" / "a" / "00.png").rename(other / "train" / "a" / "renamed.png")
    shutil.rmtree(part_of(big, 2))
    convert_folder(other, big, format="both", part=f"2/{PARTS}")
    with pytest.raises(ValueError, match=r"part-00002-of-00003 was made of other images \(number, names or order\)"):
        merge(big)


def test_parts_of_other_options_are_refused(source, big):
    shutil.rmtree(part_of(big, 2))
    convert_folder(source, big, format="both", part=f"2/{PARTS}", background="black")
    with pytest.raises(ValueError, match="part-00002-of-00003 was made of other options than part-00001-of-00003"):
        merge(big)


def test_no_parts_and_another_set_are_refused(whole, big, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"holds no parts: make them with `convert/folder.py IMAGES --root .* --part 1/16`"
    ):
        merge(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        merge(tmp_path / "gone")
    shutil.copy(whole / "manifest.json", big)
    with pytest.raises(ValueError, match="holds a data set already, beside parts of another"):
        merge(big)


def test_other_images_take_the_place_of_merged_ones(source, big, tmp_path):
    """A conversion in one process into the folder removes the shards that its manifest no longer names."""
    merge(big)
    other = shutil.copytree(source, tmp_path / "source")
    for split in SPLITS:
        (other / split / "a" / "00.png").unlink()
    (big / "train" / "notes.txt").write_text("mine")
    (big / "test" / "part-00001-of-00003.tar").unlink()  # else it would already be there
    convert_folder(other, big)
    assert sorted(content(big)) == ["manifest.json", "test.beton", "train.beton", "train/notes.txt"]
