"""Every file of a folder is found once, hidden ones and those of systems are counted, links are followed."""

import os

import pytest

from convert.sources.folder.walk import walk

SYSTEM = {
    "a/.DS_Store": b"x",
    "a/._1.jpg": b"x",
    "a/Thumbs.db": b"x",
    "b/deep/down/desktop.ini": b"x",
    "a/.ipynb_checkpoints/1-checkpoint.jpg": "JPEG",
    "b/@eaDir/1.jpg/SYNOFILE_THUMB_M.jpg": "JPEG",
    "__MACOSX/a/._1.jpg": b"x",
    "lost+found/1.jpg": "JPEG",
    ".hidden.jpg": "JPEG",
}


def test_hidden_and_system_entries_at_any_depth_are_left_out_and_counted(tree):
    walked = walk(tree(SYSTEM | {"a/1.jpg": "JPEG", "b/deep/2.jpg": "JPEG"}))
    assert [file.parts for file in walked.files] == [("a", "1.jpg"), ("b", "deep", "2.jpg")]
    assert walked.folders == [("a",), ("b",), ("b", "deep"), ("b", "deep", "down")]
    assert walked.left_out == {
        ".DS_Store": 1,
        "._* of macOS": 1,
        "Thumbs.db": 1,
        "desktop.ini": 1,
        "hidden": 1,
        "in a folder .ipynb_checkpoints": 1,
        "in a folder @eaDir": 1,
        "in a folder __MACOSX": 1,
        "in a folder lost+found": 1,
    }


def test_links_to_folders_are_followed_at_any_depth_but_for_loops(tree, tmp_path):
    root = tree(["a/1.jpg"])
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "2.jpg").write_bytes(b"x")
    os.symlink(tmp_path / "elsewhere", root / "b")
    os.symlink(root, root / "a" / "loop")
    os.symlink(root / "a" / "1.jpg", root / "a" / "3.jpg")
    walked = walk(root)
    assert [file.parts for file in walked.files] == [("a", "1.jpg"), ("a", "3.jpg"), ("b", "deep", "2.jpg")]
    assert walked.left_out == {"link to a folder that it lies in": 1}
    assert walked.dead == []


def test_dead_links_are_named_and_refused(tree, find):
    root = tree(["a/1.jpg", "b/1.jpg"])
    os.symlink("/nowhere", root / "a" / "2.jpg")
    os.symlink("/nowhere", root / "b" / "deeper")
    os.symlink("/nowhere", root / "b" / ".#lock")
    found, _ = find(root)
    assert {*found.broken} == {("a/2.jpg", "a link that leads nowhere"), ("b/deeper", "a link that leads nowhere")}
    assert found.left_out == {"hidden": 1}


def test_a_pipe_is_not_waited_for(tree):
    root = tree(["a/1.jpg"])
    os.mkfifo(root / "a" / "2.jpg")
    assert walk(root).left_out == {"neither file nor folder": 1}


@pytest.mark.parametrize("name", [b"caf\xe9", b"a" * 250, b"C_\\dir\\cat", b"new\nline"])
def test_names_of_any_bytes(tree, find, name):
    root = tree(["a/1.jpg"])
    os.mkdir(os.fsencode(root) + b"/" + name)
    with open(os.fsencode(root) + b"/" + name + b"/\xff.jpg", "wb") as file:
        file.write((root / "a" / "1.jpg").read_bytes())
    found, splits = find(root)
    assert set(found.classes) == {"a", name.decode("latin-1")}
    assert [name for name, _ in splits["train"]].count(f"{name.decode('latin-1')}/ÿ.jpg") == 1
    assert all(len(image.read()) > 100 for image in found.splits["train"])


def test_composed_and_decomposed_letters_are_one_class(tree, find):
    found, splits = find(tree(["train/caf\u00e9/1.jpg", "train/x/1.jpg", "test/cafe\u0301/1.jpg", "test/x/1.jpg"]))
    assert found.classes == ("caf\u00e9", "x")
    assert [label for _, label in splits["test"]] == [0, 1]
