"""A folder holds one whole data set, the old one until the new one is whole."""

import dataclasses

import pytest

from convert.writers.dataset import write_dataset
from convert.writers.split import finished, whole_manifest
from convert.writers.tar import write_tar
from loaders.formats.manifest import FileEntry, read_manifest, write_manifest

CLASSES = tuple("abcdefghij")


def inverted(arrays):
    """Other images with the same labels."""
    return {split: (255 - images, labels) for split, (images, labels) in arrays.items()}


def test_a_failure_between_files_leaves_the_old_set_whole(arrays, tmp_path, monkeypatch):
    def fail(path, *arguments):
        if path.name == "test.tar":
            raise OSError(28, "no space left")
        write_tar(path, *arguments)

    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("convert.writers.tar.write_tar", fail)
    with pytest.raises(OSError, match="no space left"):
        write_dataset(tmp_path, "x", inverted(arrays), CLASSES, format="dali", source="s", verified=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("change", "said"), [(-1, "-1 to 8"), (1, "1 to 10")])
def test_a_label_that_names_no_class_is_refused(arrays, tmp_path, change, said):
    """As uint8, the type of the checksum, it would silently become another one."""
    images, labels = arrays["test"]
    wrong = {**arrays, "test": (images, labels + change)}
    message = f"the labels of test are {said}, allowed: 0 to 9, since there are 10 classes"
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "x", "x", wrong, CLASSES, format="dali", source="s", verified=False)
    assert not (tmp_path / "x").exists()


def test_the_files_of_a_split_that_is_no_longer_there_go(arrays, tmp_path):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    train = {"train": inverted(arrays)["train"]}
    write_dataset(tmp_path, "x", train, CLASSES, format="beton", source="s", verified=False)
    assert {path.name for path in tmp_path.iterdir()} == {"train.beton", "manifest.json"}


def test_a_missing_file_makes_the_folder_unfinished(arrays, tmp_path):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    assert whole_manifest(tmp_path) == finished(tmp_path, "dali") == read_manifest(tmp_path)
    assert finished(tmp_path, "beton") is None
    (tmp_path / "test.idx").unlink()
    assert whole_manifest(tmp_path) is finished(tmp_path, "dali") is None


@pytest.mark.parametrize("name", ["../precious", "notes.txt"])
def test_a_conversion_deletes_no_file_of_others_that_a_manifest_names(arrays, tmp_path, name):
    folder = tmp_path / "x"
    write_dataset(folder, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    (folder / name).write_text("mine")
    manifest = read_manifest(folder)
    train = manifest.splits["train"]
    train = dataclasses.replace(train, files={**train.files, name: FileEntry(4, "cc")})
    write_manifest(folder, dataclasses.replace(manifest, splits={**manifest.splits, "train": train}))
    write_dataset(folder, "x", inverted(arrays), CLASSES, format="dali", source="s", verified=False)
    assert (folder / name).read_text() == "mine"
    assert finished(folder, "dali") is not None


def test_files_of_another_format_stay_only_with_the_same_samples(arrays, tmp_path, console):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    write_dataset(tmp_path, "x", arrays, CLASSES, format="beton", source="s", verified=False, console=console)
    assert finished(tmp_path, "both") is not None
    changed = {**arrays, "test": inverted(arrays)["test"]}
    write_dataset(tmp_path, "x", changed, CLASSES, format="beton", source="s", verified=False, console=console)
    names = {"train.beton", "train.tar", "train.idx", "test.beton", "manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert f"removing {tmp_path / 'test.tar'}: it holds other images" in console.file.getvalue()


def test_a_second_conversion_into_the_folder_is_told_of_the_first(arrays, tmp_path, monkeypatch):
    def convert(splits):
        write_dataset(tmp_path, "x", splits, CLASSES, format="dali", source="s", verified=False)

    def other_first(path, images, labels, on_samples):
        with pytest.raises(BlockingIOError, match=f"{tmp_path} is in use by process"):
            convert(inverted(arrays))
        write_tar(path, images, labels, on_samples)

    monkeypatch.setattr("convert.writers.tar.write_tar", other_first)
    convert(arrays)
    monkeypatch.undo()
    assert finished(tmp_path, "dali") is not None
    files = {f"{split}.{ending}" for split in arrays for ending in ("tar", "idx")} | {"manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == files
    others = {".chosen.npz.1.tmp", ".notes.txt", ".tmp"}
    for name in (*others, ".train.1.tmp", ".manifest.json.12.tmp", ".lock"):
        (tmp_path / name).touch()
    convert(arrays)
    assert {path.name for path in tmp_path.iterdir()} == files | others
