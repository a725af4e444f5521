"""Labels from tables: which image a row means, which label its class gets, what is told."""

import sys

import pytest


@pytest.fixture
def table(tmp_path):
    """table(text or bytes, name) -> a file of labels."""

    def make(text: str | bytes, name: str = "labels.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return make


FLAT = ["1.jpg", "2.jpg", "3.jpg"]
WANTED = [("2.jpg", 0), ("1.jpg", 1), ("3.jpg", 1)]  # in the order of the ids


@pytest.mark.parametrize(
    "text",
    [
        "image,label\n1.jpg,dog\n2.jpg,cat\n3.jpg,dog\n",
        "1.jpg, dog\n2.jpg, cat\n3.jpg, dog\n",  # no header
        "\ufeffid;class\r\n1;dog\r\n2;cat\r\n3;dog\r\n",  # Excel's, without suffixes
        "path\tlabel\n./1.jpg\tdog\nimages\\2.jpg\tcat\nC:\\images\\3.jpg\tdog\n1.jpg\tdog\n",
        b"image,label,by\n1.jpg,dog,Ren\xe9\n2.jpg,cat,x\n3.jpg,dog,x\n",  # Latin-1
    ],
)
def test_rows_name_images_by_path_or_name(tree, find, table, text):
    columns = {"image_column": "image", "label_column": "label"} if isinstance(text, bytes) else {}
    found, splits = find(tree(FLAT), labels=table(text), **columns)
    assert found.classes == ("cat", "dog")
    assert splits == {"train": WANTED}
    assert not found.broken
    assert not +found.left_out


def test_parquet_and_its_absence(tree, find, tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"file": ["1.jpg", "2.jpg", "3.jpg"], "x": [0, 0, 0], "y": [1.0, 0.0, None]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    choices = {"labels": tmp_path / "labels.parquet", "image_column": "file", "label_column": "y"}
    found, splits = find(tree(FLAT), **choices)
    assert (found.classes, splits["train"]) == (("0", "1"), [("2.jpg", 0), ("1.jpg", 1)])
    assert +found.left_out == {"without a label in its row": 1}
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is not a whole Parquet file"):
        find(tree(FLAT), **choices | {"labels": tmp_path / "broken.parquet"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow, which is not installed: pip install pyarrow, or save the"):
        find(tree(FLAT), **choices)


def test_integers_keep_their_order_and_become_labels_from_0(tree, find, table):
    names = [f"{i}.jpg" for i in range(1, 12)]
    found, splits = find(tree(names), labels=table("".join(f"{name},{i}\n" for i, name in enumerate(names, 1))))
    assert found.classes == tuple(str(i) for i in range(1, 12))  # and not 1, 10, 11, 2
    assert sorted(splits["train"], key=lambda image: image[1]) == [(name, i) for i, name in enumerate(names)]
    assert "the labels 1 to 11 become 0 to 10, in their order" in found.notes


def test_integers_number_the_names_of_a_class_list(tree, find, table, tmp_path):
    (tmp_path / "classes").write_text("zebra\nant\n")
    labels = table("image,label\n1.jpg,1\n2.jpg,0\n3.jpg,1\n")
    found, splits = find(tree(FLAT), labels=labels, class_list=tmp_path / "classes")
    assert (found.classes, splits["train"]) == (("zebra", "ant"), WANTED)
    with pytest.raises(ValueError, match="has the labels 2, and the class list names 0 to 1 only"):
        find(tree(FLAT), labels=table("1.jpg,2\n"), class_list=tmp_path / "classes")


def test_split_folders_count_below_labels(tree, find, table):
    _, splits = find(
        tree(["train/1.jpg", "train/2.jpg", "Test/3.jpg"]),
        labels=table("image,label\ntrain/1.jpg,a\n2.jpg,b\nTest/3.jpg,a\n"),
    )
    assert splits == {"train": [("train/1.jpg", 0), ("train/2.jpg", 1)], "test": [("Test/3.jpg", 0)]}


def test_what_does_not_match_is_told(tree, find, table):
    found, splits = find(tree([*FLAT, "4.jpg"]), labels=table("image,label\n1.jpg,a\n9.jpg,b\n3.jpg,\n1.jpg,a\n"))
    assert splits == {"train": [("1.jpg", 0)]}
    assert found.broken == (("9.jpg", "named in the labels and not there"),)
    assert +found.left_out == {"without a label in its row": 1, "without a row in labels.csv": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.jpg,a\n1.jpg,b\n", r"gives 1\.jpg the labels a and b: keep one of the rows"),
        ("image,label,fold\n1.jpg,a,1\n", "has the columns image, label, fold: say which one with --image-column"),
        ("image,label\n1.jpg\n", "row 1 has 1 columns, and not 2"),
        ("", "is empty: needed are rows of an image and its label"),
    ],
)
def test_tables_that_will_not_do(tree, find, table, text, message):
    with pytest.raises(ValueError, match=message):
        find(tree(FLAT), labels=table(text))
    with pytest.raises(ValueError, match="has no column 'x': --label-column is one of image, label"):
        find(tree(FLAT), labels=table("image,label\n"), label_column="x")


def test_a_name_that_fits_several_images_is_refused_and_no_other_folder_will_do(tree, find, table):
    root = tree(["cat/1.jpg", "dog/1.jpg", "dog/2.jpg"])
    with pytest.raises(ValueError, match=r"name 1\.jpg, which may be any of cat/1\.jpg, dog/1\.jpg: name it by"):
        find(root, labels=table("1.jpg,a\n"))
    found, _ = find(root, labels=table("image,label\ncat/2.jpg,a\ndog/1.jpg,b\n"))
    assert found.broken == (("cat/2.jpg", "named in the labels and not there"),)
