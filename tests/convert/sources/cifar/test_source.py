import dataclasses
import gzip

import numpy as np
import pytest
from PIL import Image

from convert.sources.cifar.published import CIFAR100
from convert.sources.cifar.source import read_source


def assert_equal(content, arrays):
    for split, (images, labels) in arrays.items():
        np.testing.assert_array_equal(content.splits[split][0], images)
        np.testing.assert_array_equal(content.splits[split][1], labels)


@pytest.mark.parametrize("form", ["binary", "python", "images"])
def test_archives_of_every_form_hold_the_same(form, archive_of, arrays, published):
    content = read_source(archive_of(form), published)
    assert_equal(content, arrays)
    assert (content.verified, content.note, content.source) == (True, "", archive_of(form).name)


@pytest.mark.parametrize("form", ["binary", "python", "images"])
@pytest.mark.parametrize("inside", ["", "cifar-10-batches"])
def test_unpacked_folders(form, inside, files_of, arrays, published, tmp_path):
    (tmp_path / inside).mkdir(exist_ok=True)
    for name, content in files_of(form).items():
        (tmp_path / inside / name).write_bytes(content)
    assert_equal(read_source(tmp_path, published), arrays)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("form", ["binary", "python", "images"])
def test_truncated_archive(form, fraction, archive_of, published, tmp_path):
    whole = archive_of(form).read_bytes()
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(whole[: int(fraction * len(whole))])
    message = r"cut\.tar\.gz \([\d,]+ bytes\) is cut short, damaged or not CIFAR-10: its MD5 is .*; delete it and"
    with pytest.raises(ValueError, match=message):
        read_source(path, published)


def test_an_archive_is_not_opened_before_its_checksum_is_verified(archive_of, published, tmp_path, monkeypatch):
    """The same files in another archive: everything would read, but it is not the published file."""
    path = tmp_path / "other.tar.gz"
    path.write_bytes(gzip.compress(gzip.decompress(archive_of("python").read_bytes()), mtime=1))
    monkeypatch.setattr("tarfile.open", None)
    expected = published.archive_md5["python"]
    with pytest.raises(ValueError, match=rf"its MD5 is [0-9a-f]{{32}}, published are .* {expected} \(python\)"):
        read_source(path, published)


@pytest.mark.parametrize("byte", [0, 1, 3073, -1])  # a label, a pixel
def test_other_pixels_or_labels(byte, files_of, published, tmp_path):
    for name, content in files_of("binary").items():
        changed = bytearray(content)
        if name == "data_batch_3.bin":
            changed[byte] = (changed[byte] + 1) % 10
        (tmp_path / name).write_bytes(changed)
    with pytest.raises(ValueError, match=r"holds other (pixels|labels) than CIFAR-10 in train: their SHA-256 is"):
        read_source(tmp_path, published)


@pytest.mark.parametrize(
    ("form", "name", "change", "message"),
    [
        ("binary", "test_batch.bin", lambda c: c[:-1], r"test_batch\.bin has 30,729 bytes, not whole records"),
        ("binary", "test_batch.bin", lambda c: b"", r"test_batch\.bin has 0 bytes"),
        ("binary", "test_batch.bin", lambda c: c[:3073], r"has 1 images and 1 labels in test, needed: 10 of each"),
        ("binary", "test_batch.bin", lambda c: b"\x0a" + c[1:], r"has labels \d to 10 in test, allowed: 0 to 9"),
        ("python", "data_batch_1", lambda c: c[:-9], r"is damaged or not CIFAR-10: data_batch_1: wrong checksum"),
        (
            "python",
            "test_batch",
            lambda c: b"\x80\x02cos\nsystem\nU\x04true\x85R.",
            r"test_batch: wrong checksum",
        ),
        ("images", "test_batch.png", lambda c: c[:50], r"is damaged or not CIFAR-10"),
        ("images", "test_lables.json", lambda c: b"[1,", r"the labels are not a list of integers"),
        ("images", "test_lables.json", lambda c: b"[" * 100_000, r"the labels are not a list of integers"),
    ],
)
def test_damaged_members(form, name, change, message, files_of, published, tmp_path):
    for member, content in files_of(form).items():
        (tmp_path / member).write_bytes(change(content) if member == name else content)
    with pytest.raises(ValueError, match=message):
        read_source(tmp_path, published)


def test_a_missing_batch_is_named(files_of, published, tmp_path):
    for name, content in files_of("binary").items():
        if name != "data_batch_4.bin":
            (tmp_path / name).write_bytes(content)
    message = r"is not CIFAR-10, needed: train/<class>.* \(of the binary one it lacks data_batch_4\.bin\)"
    with pytest.raises(ValueError, match=message):
        read_source(tmp_path, published)


def test_nothing_there(published, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: give --source an archive or a folder of CIFAR-10"):
        read_source(tmp_path / "absent", published)


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_not_an_archive(content, published, tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.tar\.gz .* is cut short, damaged or not CIFAR-10"):
        read_source(tmp_path / "x.tar.gz", published)


def test_fine_labels_of_cifar100(tmp_path):
    """Records have a coarse and a fine label; an unpacked folder cannot be verified, and the note says so."""
    images = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    record = np.concatenate([np.array([[1, 77], [2, 99]], np.uint8), images], axis=1).tobytes()
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(record)
    content = read_source(tmp_path, dataclasses.replace(CIFAR100, num_samples={"train": 2, "test": 2}))
    decoded, labels = content.splits["train"]
    assert labels.tolist() == [77, 99]
    np.testing.assert_array_equal(decoded[0, 0, 5], images[0, [5, 1029, 2053]])
    assert not content.verified
    assert content.note == "no checksum of the unpacked binary CIFAR-100 is published"


def test_a_huge_file_is_not_read(published, tmp_path):
    with open(tmp_path / "data_batch_1", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        ValueError, match=r"data_batch_1 has 1,099,511,627,776 bytes, and no file of its kind has more than"
    ):
        read_source(tmp_path, published)


def make_image_folder(root, ending, images, classes):
    for split in ("train", "test"):
        for number, image in enumerate(images):
            folder = root / split / classes[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03d}.{ending}")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_image_folder(ending, arrays, published, tmp_path):
    images = arrays["train"][0][:6]
    make_image_folder(tmp_path, ending, images, ("truck", "bird"))
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "train" / "bird" / f"._001.{ending}").write_bytes(b"x")
    content = read_source(tmp_path, published)
    decoded, labels = content.splits["train"]
    assert labels.tolist() == [2, 2, 2, 9, 9, 9]  # in the order of the classes, then of the names
    if ending == "png":
        np.testing.assert_array_equal(decoded, images[[1, 3, 5, 0, 2, 4]])
    assert not content.verified
    assert "keeps neither the published order nor, as JPEG, the published pixels" in content.note


def test_bad_image_folders(arrays, published, tmp_path):
    images = arrays["train"][0][:2]
    make_image_folder(tmp_path / "a", "png", images, ("truck", "unicorn"))
    with pytest.raises(ValueError, match="has class folders unicorn, allowed: airplane, "):
        read_source(tmp_path / "a", published)
    make_image_folder(tmp_path / "b", "png", images[:, :30], ("truck", "bird"))
    with pytest.raises(ValueError, match=r"\.png is 32 x 30, needed: 32 x 32"):
        read_source(tmp_path / "b", published)
    (tmp_path / "c" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="train holds no images"):
        read_source(tmp_path / "c", published)
    make_image_folder(tmp_path / "d", "png", images, ("truck", "bird"))
    for strange in ("d/train/bird/x.tiff", "d/train/x.png"):
        (tmp_path / strange).write_bytes(b"one more image")
        with pytest.raises(ValueError, match=rf"{strange} is not an image in a class folder, needed: <class>/\* with"):
            read_source(tmp_path / "d", published)
        (tmp_path / strange).unlink()
    (tmp_path / "d" / "test" / "bird" / "x.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"x\.png cannot be used: it is no"):
        read_source(tmp_path / "d", published)
