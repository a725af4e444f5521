"""Samples of WebDataset tars: the library's rules for keys, and what breaks them is told."""

import pytest


def test_keys_end_at_the_first_dot_of_the_last_path(tar, find):
    members = [
        ("v1.5/a.jpg", "JPEG"),
        ("v1.5/a.cls", b"1"),
        ("v1.5/a.seg.png", "PNG"),
        ("b/a.PNG", "PNG"),
        ("b/a.CLS", b"0\n"),
        ("b/a.json", b"{}"),
        ("lonely.cls", b"0"),
        ("._a.jpg", b"x"),
        ("__MACOSX/x.jpg", b"x"),
    ]
    found, splits = find(tar("x.tar", members))
    assert splits == {"train": [("x.tar: v1.5/a.jpg", 1), ("x.tar: b/a.PNG", 0)]}
    assert found.classes == ("0", "1")
    assert found.left_out == {
        "samples without an image": 1,
        ".seg.png beside images": 1,
        ".json beside images": 1,
        "._* of macOS": 1,
        "__MACOSX": 1,
    }


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [("v1.5_b.jpg", "JPEG"), ("v1.5_b.cls", b"1"), ("cat.0.jpg", "JPEG"), ("cat.0.cls", b"1")],
            r"2 samples have a dot too many in their names \(v1\.5_b\.jpg\): webdataset takes .* the key \(v1\)",
        ),
        ([("a.jpg", "JPEG"), ("a.cls", b"1"), ("a.jpg", "JPEG")], r"holds the member a\.jpg twice: keep one"),
        ([("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.cls", b"1")], r"the sample a has several images, a\.jpg and a\.png"),
        ([("cat/1.jpg", "JPEG")], r"the sample cat/1 has no label, .* \(a tar of class folders is to be unpacked"),
        ([("a.jpg", "JPEG"), ("a.cls", b"cat")], r"the sample a has no label, needed: a member a\.cls with the number"),
        ([("a.cls", b"1")], "holds no images, needed: members such as"),
    ],
)
def test_names_and_labels_that_will_not_do(tar, find, members, message):
    with pytest.raises(ValueError, match=message):
        find(tar("x.tar", members))


def test_several_shards_with_the_same_keys(tar, find, tmp_path):
    for name, labels in (("train-000", (0, 1)), ("train-001", (1, 2)), ("val-000", (2,))):
        tar(f"{name}.tar", [m for i, k in enumerate(labels) for m in ((f"{i}.jpg", "JPEG"), (f"{i}.cls", b"%d" % k))])
    folder = tmp_path / "tars"
    found, splits = find(folder)
    train = [(f"train-00{shard}.tar: {i}.jpg", shard + i) for shard in (0, 1) for i in (0, 1)]
    assert splits == {"train": train, "val": [("val-000.tar: 0.jpg", 2)]}
    assert found.notes[0] == "3 tars are read in the order of their names: 2 of train, 1 of val"
    assert not any("missing" in note for note in found.notes)
    for pattern in ("train-*.tar", "train-{000..001}.tar"):
        assert find(folder / pattern)[1] == {"train": train}
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 tars of .* are missing: train-002\.tar: get them"):
        find(folder / "train-{000..002}.tar")
    (folder / "train-000.tar").rename(folder / "train-003.tar")
    assert "missing, by the numbers of the other tars: train-002.tar" in find(folder)[0].notes
    with pytest.raises(FileNotFoundError, match="does not exist: give a folder of images or a tar, or a pattern"):
        find(folder / "none-{000..002}.tar")
    with pytest.raises(FileNotFoundError, match="does not exist: give a folder of images or a tar, or a pattern"):
        find(folder / "other-*.tar")


def test_a_class_list_names_the_labels(tar, find, tmp_path):
    (tmp_path / "classes").write_text("ant\nbee\n")
    path = tar("x.tar", [("a.jpg", "JPEG"), ("a.cls", b"1")])
    found, splits = find(path, class_list=tmp_path / "classes")
    assert (found.classes, splits["train"]) == (("ant", "bee"), [("x.tar: a.jpg", 1)])
    with pytest.raises(ValueError, match="a label is 2, and the class list names 0 to 1 only"):
        find(tar("y.tar", [("a.jpg", "JPEG"), ("a.cls", b"2")]), class_list=tmp_path / "classes")


def test_a_broken_image_in_a_tar_is_told(tar, find):
    found, splits = find(tar("x.tar", [("a.jpg", b"<html>"), ("a.cls", b"0"), ("b.jpg", "PNG"), ("b.cls", b"0")]))
    assert found.broken == (("x.tar: a.jpg", "HTML and no image"),)
    assert splits == {"train": [("x.tar: b.jpg", 0)]}


def test_a_held_out_set_of_a_tar(tar, find):
    members = [member for i in range(10) for member in ((f"{i}.jpg", "JPEG"), (f"{i}.cls", b"%d" % (i % 2)))]
    _, splits = find(tar("x.tar", members), split=0.4)
    assert sorted(label for _, label in splits["test"]) == [0, 0, 1, 1]
    assert [name for name, _ in splits["train"]] == sorted(name for name, _ in splits["train"])
