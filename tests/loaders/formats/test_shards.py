"""Many files as one data set: the same samples as from one file, and no file opened that a plan does not touch."""

import contextlib
import copy
import gc
import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from convert.writers.grey_beton import write_grey_beton
from convert.writers.tar import write_tar
from loaders import Augment, EpochPlan, IndexScheduler, make_loader, open_dataset
from loaders.backends.gpu.residence import resident
from loaders.formats.manifest import FileEntry, Manifest, Split, write_manifest
from tests.conftest import photographs, write_mode

SIZES = (40, 1, 97, 13)  # samples of the shards
NUM = sum(SIZES)
AUGMENT = Augment(crop_padding=4, flip=True)
BACKENDS = (
    "fused",
    "reference",
    pytest.param("ffcv", marks=pytest.mark.ffcv),
    pytest.param("dali", marks=pytest.mark.dali),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder of `raw/`, `jpeg/`, `mixed/` and `tar/` with shards 1, 2, 9, 10 each, and of each set as one file."""
    folder = tmp_path_factory.mktemp("shards")
    images, labels = photographs(NUM, 32, 32, 4), np.arange(NUM) % 10
    bounds = np.cumsum((0, *SIZES))
    for kind in ("raw", "jpeg", "mixed", "tar"):
        (folder / kind).mkdir()
        for name, first, last in zip((1, 2, 9, 10), bounds[:-1], bounds[1:], strict=True):
            part = images[first:last], labels[first:last]
            if kind == "tar":
                write_tar(folder / kind / f"train-{name}.tar", *part)
            else:
                write_mode(folder / kind / f"train-{name}.beton", *part, kind)
    for kind in ("raw", "jpeg"):
        write_mode(folder / f"{kind}.beton", images, labels, kind)
    write_tar(folder / "tar.tar", images, labels)
    return folder


def mapped(folder) -> list[str]:
    """The files of a folder that this process has in its memory map."""
    with open("/proc/self/maps") as lines:
        paths = {line.split()[-1] for line in lines if f"{folder}/" in line}
    return sorted(os.path.basename(path) for path in paths)


def copied(files, kind, tmp_path):
    """A copy of a folder, to be changed, or to be the first to be opened."""
    for path in (files / kind).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("kind", ["raw", "jpeg", "tar"])
def test_the_samples_are_those_of_one_file_in_the_order_of_the_numbers(files, kind):
    one = open_dataset(files / f"{kind}.{'tar' if kind == 'tar' else 'beton'}")
    many = open_dataset(files / kind)
    assert (many.kind, many.num_samples, many.image_shape) == (one.kind, NUM, one.image_shape)
    assert [int(re.findall(r"[0-9]+", os.path.basename(path))[0]) for path in many.paths()] == [1, 2, 9, 10]
    for name in ("sizes", "heights", "widths", "is_jpeg", "labels"):
        assert np.array_equal(getattr(many, name), getattr(one, name)), name
    assert all(np.array_equal(many.bytes(i), one.bytes(i)) for i in range(NUM))
    assert np.array_equal(many[-1][0], one[NUM - 1][0])
    assert many.images is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loader_delivers_what_it_delivers_of_one_file(files, backend):
    scheduler = IndexScheduler(NUM, budget=0.6, seed=3)
    one, many = (
        make_loader(path, 16, backend=backend, augment=AUGMENT, scheduler=scheduler, dtype=torch.uint8)
        for path in (files / "raw.beton", files / "raw")
    )
    for _ in range(2):
        for wanted, got in zip(one, many, strict=True):
            assert torch.equal(got.images, wanted.images)
            assert torch.equal(got.labels, wanted.labels)
            assert torch.equal(got.ids, wanted.ids)


def test_grey_shards_stay_grey(tmp_path, files):
    images = np.random.default_rng(5).integers(0, 256, (7, 6, 8, 1), np.uint8)
    (tmp_path / "grey").mkdir()
    for name, rows in (("train-0", slice(0, 3)), ("train-1", slice(3, 7))):
        write_grey_beton(tmp_path / "grey" / f"{name}.beton", images[rows], np.arange(7)[rows])
    dataset = open_dataset(tmp_path / "grey")
    assert (dataset.channels, dataset.image_shape) == (1, (6, 8, 1))
    assert all(np.array_equal(dataset[sample][0], images[sample]) for sample in range(7))
    for backend in ("fused", "reference"):
        loader = make_loader(tmp_path / "grey", 7, backend=backend, dtype=torch.uint8)
        batch = next(loader.epoch(EpochPlan(np.arange(7)[::-1].copy())))
        assert np.array_equal(batch.images.permute(0, 2, 3, 1), images[::-1])
    with pytest.raises(ValueError, match=r"of .*train-0\.beton have 1 channel, those of .*raw\.beton have 3: convert"):
        open_dataset([tmp_path / "grey" / "train-0.beton", files / "raw.beton"])


@pytest.mark.dali
def test_jpeg_and_mixed_shards_are_decoded(files):
    for path in (files / "jpeg", files / "mixed", sorted((files / "jpeg").iterdir())):
        got, wanted = (make_loader(path, NUM, backend=b, dtype=torch.uint8) for b in ("dali", "reference"))
        plan = EpochPlan(np.arange(NUM))
        apart = next(got.epoch(plan)).images.int() - next(wanted.epoch(plan)).images.int()
        assert apart.abs().float().mean() < 0.5


def test_a_plan_maps_only_the_files_that_it_touches(files, tmp_path):
    loader = make_loader(copied(files, "raw", tmp_path), 8, augment=AUGMENT)
    descriptors = len(os.listdir("/proc/self/fd"))
    assert mapped(tmp_path) == []
    list(loader.epoch(EpochPlan(np.array([0, 39, 40]))))
    assert mapped(tmp_path) == ["train-1.beton", "train-2.beton"]
    loader.dataset.bytes(NUM - 1)
    assert mapped(tmp_path) == ["train-1.beton", "train-10.beton", "train-2.beton"]
    assert len(os.listdir("/proc/self/fd")) <= descriptors  # a map needs none
    del loader
    gc.collect()
    assert mapped(tmp_path) == []


def test_a_byte_that_no_plan_asked_for_is_never_taken_for_a_pixel(files):
    """It ends the program."""
    script = f"from loaders import open_dataset; d = open_dataset({str(files / 'raw')!r}); print(d.data[d.offsets[0]])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-11, b"")


def test_images_for_a_gpu_are_copied_from_all_files(files):
    dataset = open_dataset(files / "raw")
    held = resident(dataset, torch.device("cpu"))
    assert all(
        np.array_equal(held.data[start : start + 3072].numpy(), dataset.bytes(i))
        for i, start in enumerate(held.offsets)
    )
    assert resident(open_dataset(files / "raw"), torch.device("cpu")).data is held.data


def test_it_pickles_and_copies_as_its_files(files):
    loader = make_loader(files / "raw", 16, augment=AUGMENT)
    for again in (pickle.loads(pickle.dumps(loader)), copy.copy(loader)):
        assert again.dataset.paths() == loader.dataset.paths()
        assert torch.equal(next(iter(again)).images, next(iter(make_loader(files / "raw", 16, augment=AUGMENT))).images)


@pytest.mark.parametrize("kind", ["raw", "raw.beton"], ids=["shards", "one file"])
def test_a_relative_path_outlives_the_working_directory(files, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("loaders.formats.shards._LOOK_AGAIN_S", 0)
    expected = next(iter(make_loader(files / kind, NUM, sequential=True))).images
    for path in files.glob("raw*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    loader = make_loader(kind, NUM, sequential=True)
    monkeypatch.chdir(files.parent)
    for one in (pickle.loads(pickle.dumps(loader)), loader):
        assert torch.equal(next(iter(one)).images, expected)
    assert loader.dataset.path == kind, "messages name what was given"
    path = tmp_path / kind
    os.truncate(path / "train-9.beton" if path.is_dir() else path, 100)
    with pytest.raises(ValueError, match=r"^raw(/train-9)?\.beton was cut from [0-9,]+ to 100 bytes"):
        list(loader.epoch(EpochPlan(np.arange(NUM))))


@pytest.mark.parametrize("when", ["before it is mapped", "while it is read"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: os.truncate(path, 100), r"train-9\.beton was cut from [0-9,]+ to 100 bytes while"),
        (lambda path: os.replace(path.with_name("train-10.beton"), path), r"train-9\.beton was replaced by another"),
    ],
    ids=["cut", "replaced"],
)
def test_a_file_that_changes_is_named(files, tmp_path, monkeypatch, when, change, message):
    monkeypatch.setattr("loaders.formats.shards._LOOK_AGAIN_S", 0)
    path = copied(files, "raw", tmp_path) / "train-9.beton"
    loader = make_loader(tmp_path, 4, backend="reference")  # reads no batch ahead
    plan = EpochPlan(np.arange(41, 141) % 97 + 41)  # in the third file and the fourth
    batches = loader.epoch(plan)
    if when == "while it is read":
        next(batches)
    else:
        loader = make_loader(tmp_path, 4)
    change(path)
    with pytest.raises(ValueError, match=message), contextlib.closing(batches):
        list(batches if when == "while it is read" else loader.epoch(plan))


def test_other_files_may_change(files, tmp_path, monkeypatch):
    monkeypatch.setattr("loaders.formats.shards._LOOK_AGAIN_S", 0)
    loader = make_loader(copied(files, "raw", tmp_path), 4)
    os.truncate(tmp_path / "train-9.beton", 100)
    assert len(list(loader.epoch(EpochPlan(np.arange(40))))) == 10


def test_a_damaged_image_is_named_by_its_file_and_its_id(files, tmp_path):
    dataset = open_dataset(copied(files, "jpeg", tmp_path))
    start, path = int(dataset.offsets[45] - dataset.places[2]), tmp_path / "train-9.beton"
    content = bytearray(path.read_bytes())
    content[start : start + 400] = bytes(400)
    path.write_bytes(content)
    loader = make_loader(tmp_path, 4, backend="reference")
    with pytest.raises(ValueError, match=r"train-9\.beton: the JPEG of sample 45 cannot be decoded"):
        list(loader.epoch(EpochPlan(np.array([44, 45]))))


def test_what_is_no_set_of_shards_is_one_sentence(files, tmp_path):
    with pytest.raises(ValueError, match="the list of shards is empty"):
        open_dataset([])
    with pytest.raises(FileNotFoundError, match=r"holds no \.beton and no \.tar: give a file, or a folder of shards"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match=re.escape("holds jpeg.beton, raw.beton, tar.tar, which are not the shards")):
        open_dataset(files)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*gone\.beton"):
        open_dataset([files / "raw.beton", files / "gone.beton"])
    with pytest.raises(ValueError, match=r"of .*raw\.beton and .*tar\.tar one holds PNG, the other raw pixels"):
        open_dataset([files / "raw.beton", files / "tar.tar"])
    assert open_dataset([files / "raw.beton", files / "jpeg.beton"]).kind == "mixed"


def test_the_manifest_says_which_shards_there_are(files, tmp_path):
    (tmp_path / "train").mkdir()
    copied(files, "raw", tmp_path / "train")
    names = sorted(path.name for path in (tmp_path / "train").iterdir())

    def write(listed):
        split = Split(NUM, "aa", "bb", {f"train/{name}": FileEntry(1, "cc") for name in listed})
        args = ("x", (32, 32, 3), tuple("abcdefghij"), (0.5,) * 3, (0.2,) * 3, "s", False, "", {"train": split})
        write_manifest(tmp_path, Manifest(*args))

    write(names)
    assert open_dataset(tmp_path / "train").classes == tuple("abcdefghij")
    assert open_dataset(tmp_path / "train" / "train-1.beton").classes == tuple("abcdefghij")
    write(names[1:])
    with pytest.raises(
        ValueError, match=r"train holds beside its shards train-1\.beton, and its manifest says otherwise"
    ):
        open_dataset(tmp_path / "train")
    write([*names, "train-11.beton"])
    with pytest.raises(ValueError, match=r"train lacks train-11\.beton, and its manifest says otherwise"):
        open_dataset(tmp_path / "train")


def test_without_a_manifest_the_numbers_say_which_shards_there_are(files, tmp_path):
    folder = copied(files, "raw", tmp_path)
    assert len(open_dataset(folder)) == NUM, "1, 2, 9 and 10 are numbers, and no series"
    (folder / "train-9.beton").rename(folder / "train-3.beton")
    (folder / "train-10.beton").rename(folder / "train-5.beton")
    with pytest.raises(ValueError, match=r"lacks train-4\.beton, by the numbers of its other files: get what is"):
        open_dataset(folder)
    assert len(open_dataset([folder / f"train-{number}.beton" for number in (1, 2, 3, 5)])) == NUM


def test_many_files_need_no_descriptors(files):
    """300 maps with 64 descriptors."""
    script = f"""
import resource
import numpy as np
import torch
from loaders import EpochPlan, make_loader
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
loader = make_loader([{str(files / "raw" / "train-10.beton")!r}] * 300, 300, dtype=torch.uint8)
batch = next(loader.epoch(EpochPlan(13 * np.arange(300) + 5)))
assert (batch.images == batch.images[0]).all() and batch.images.any()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
