"""Splits and classes by folders: what is taken, what is told, what is refused."""

import pytest

from convert.sources.folder.classes import check_classes


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("other", ["val", "Valid", "validation", "DEV", "Test", "testing"])
def test_splits_by_any_usual_name_and_case(tree, find, train, other):
    split = "test" if "test" in other.lower() else "val"
    found, splits = find(tree([f"{train}/b/1.jpg", f"{train}/a/2.jpg", f"{other}/a/3.jpg", f"{other}/b/4.jpg"]))
    assert found.classes == ("a", "b")
    assert splits == {
        "train": [(f"{train}/a/2.jpg", 0), (f"{train}/b/1.jpg", 1)],
        split: [(f"{other}/a/3.jpg", 0), (f"{other}/b/4.jpg", 1)],
    }


def test_val_as_test(tree, find):
    root = tree(["train/a/1.jpg", "valid/a/2.jpg"])
    assert find(root, val_as_test=True)[1]["test"] == [("valid/a/2.jpg", 0)]
    assert find(root)[0].notes[-1] == (
        "there is no split test, on which a run is tested: --val-as-test takes val for it, "
        "or train with --eval_split val"
    )
    with pytest.raises(ValueError, match="--val-as-test needs a split val and none that is called test"):
        find(tree(["test/a/1.jpg"]), val_as_test=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/a/1.jpg", "training/a/1.jpg"], "folders train and training, which both name one split: keep one"),
        (["test/a/1.jpg"], r"has test but no train folder, .* named train\|training, val\|valid"),
        (["train/1.jpg", "test/2.jpg"], r"/test holds images and no class folders: sort them into test/<class>/\*"),
        (["car/1.jpg", "train/1.jpg"], "if train is a class, as car is, name both in --class-list FILE"),
        (["archive/Training/a/1.jpg", "archive/Testing/a/1.jpg"], "archive holds the folder Test.* give .*/archive"),
        (["a/train/1.jpg", "b/1.jpg"], r"/a holds the folder train, which names a split: .* /train/<class>|/a holds"),
        (["train/flowers/test/1.jpg"], "/train/flowers holds the folder test, which names a split"),
        (
            ["1.jpg", "2.jpg"],
            r"holds 2 images and no class folders: sort them into <class>/\*, or give .* --labels FILE",
        ),
        (["a/1.jpg"], None),
    ],
)
def test_folders_that_will_not_do(tree, find, files, message):
    if message is None:
        assert find(tree(files))[0].notes[0] == "there is one class only, a"
        return
    with pytest.raises(ValueError, match=message):
        find(tree(files))


def test_a_split_without_images(tree, find):
    with pytest.raises(ValueError, match=r"/test holds no images, needed: test/<class>/\* in it"):
        find(tree({"train/a/1.jpg": "JPEG", "test/a/notes.txt": b"x"}))


def test_a_class_whose_name_is_that_of_a_split(tree, find, tmp_path):
    (tmp_path / "classes").write_text("train\nbus\ncar\n")
    found, splits = find(tree(["bus/1.jpg", "car/2.jpg", "train/3.jpg"]), class_list=tmp_path / "classes")
    assert found.classes == ("train", "bus", "car")
    assert splits == {"train": [("train/3.jpg", 0), ("bus/1.jpg", 1), ("car/2.jpg", 2)]}


def test_what_lies_beside_splits_and_classes_is_counted(tree, find):
    files = [
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/0.jpg",
        "test/a/1.jpg",
        "test/b/1.jpg",
        "extra/1.jpg",
        "extra/2.jpg",
    ]
    found, splits = find(tree([*files, "cover.jpg"]))
    assert [len(splits[split]) for split in ("train", "test")] == [2, 2]
    assert found.left_out == {
        "in extra, beside the folders of splits": 2,
        "beside the folders of splits": 1,
        "above the class folders": 1,
    }


def test_one_more_level_is_told_or_descended(tree, find):
    root = tree(["flowers/daisy/1.jpg", "flowers/rose/2.jpg", "flowers/0.jpg", "trees/oak/3.jpg", "trees/elm/4.jpg"])
    found, _ = find(root)
    assert found.classes == ("flowers", "trees")
    assert found.notes[0] == (
        "images of 1 of 2 classes lie in folders within them (trees: elm, oak): --depth 2 makes each of these a class"
    )
    found, splits = find(root, depth=2)
    assert found.classes == ("flowers/daisy", "flowers/rose", "trees/elm", "trees/oak")
    assert [label for _, label in splits["train"]] == [0, 1, 2, 3]
    assert found.left_out == {"above the class folders": 1}
    with pytest.raises(ValueError, match="no class folders 3 levels deep"):
        find(root, depth=3)


def test_classes_without_an_image_in_train_are_refused_by_name(tree, find):
    files = {"train/a/1.jpg": "JPEG", "train/docs/x.txt": b"x", "train/b": None, "test/a/1.jpg": "JPEG"}
    found, _ = find(tree(files | {"test/c/1.jpg": "JPEG"}))
    assert found.classes == ("a", "b", "c", "docs")
    with pytest.raises(
        ValueError, match=r"3 of 4 classes have no image in train: b, c \(only in test\), docs: .*--allow-empty"
    ):
        check_classes(found, allow_empty=False)
    assert check_classes(found, allow_empty=True)[0] == "classes without an image in train are kept: b, c, docs"


def test_classes_without_an_image_in_test_are_told(tree, find):
    found, _ = find(tree(["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"]))
    assert check_classes(found, allow_empty=False) == ("1 of 2 classes have no image in test: b",)


def test_numbers_sort_as_text_and_that_is_told(tree, find):
    found, _ = find(tree([f"{number}/1.jpg" for number in (1, 2, 10)]))
    assert found.classes == ("1", "10", "2")  # as ImageFolder
    told = "classes are sorted as text, as ImageFolder does: label 1 is 10; --class-list sets another order"
    assert found.notes[0] == told


def test_a_class_list_fixes_the_order(tree, find, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_bytes("\ufeffz\r\n\r\nä\r\nb\r\n".encode())
    found, splits = find(tree(["b/1.jpg", "ä/2.jpg"]), class_list=names)
    assert found.classes == ("z", "ä", "b")
    assert splits["train"] == [("ä/2.jpg", 1), ("b/1.jpg", 2)]
    names.write_text("b\n")
    with pytest.raises(ValueError, match="the class list lacks ä: add the names to it"):
        find(tree([]), class_list=names)
    for text, message in (("", "names no class"), ("b\nb\n", "names b twice")):
        names.write_text(text)
        with pytest.raises(ValueError, match=message):
            find(tree([]), class_list=names)


def test_a_held_out_test_set_is_the_same_for_everyone(tree, find):
    root = tree([f"{name}/{i}.jpg" for name, count in (("a", 20), ("b", 10), ("c", 1)) for i in range(count)])
    _, splits = find(root, split=0.25)
    assert [sum(label == k for _, label in splits["test"]) for k in range(3)] == [5, 3, 0]
    assert not {*splits["train"]} & {*splits["test"]}
    assert len(splits["train"]) == 23
    assert [name for name, label in splits["test"] if label == 1] == GOLDEN
    assert find(root, split=0.25, seed=1)[1] != splits
    (root / "a" / "0.jpg").unlink()
    assert [name for name, label in find(root, split=0.25)[1]["test"] if label == 1] == GOLDEN
    with pytest.raises(ValueError, match=r"--split 0\.01 is less than half an image in each class"):
        find(root, split=0.01)
    with pytest.raises(ValueError, match="there is a test split already: leave it out"):
        find(tree(["train/a/1.jpg", "test/a/1.jpg"]).parent / "images", split=0.5)


GOLDEN = ["b/6.jpg", "b/8.jpg", "b/9.jpg"]
