"""Tables in the layouts of the library `datasets`, made with pyarrow alone."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.huggingface import convert_huggingface
from convert.sources.restart_rows import with_restart_rows
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset

pa = pytest.importorskip("pyarrow", reason="needs the extra rebar-loaders[huggingface]")
from pyarrow import parquet  # noqa: E402

NAMES = ["cat", "dog", "owl"]
FEATURES = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}, "id": {"_type": "Value"}}


def image_file(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def table(contents, labels, *, noted=True):
    images = pa.array(
        [{"bytes": content, "path": None} for content in contents],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    columns = {"img": images, "label": pa.array(labels), "id": pa.array(range(len(labels)))}
    made = pa.table(columns)
    return made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": FEATURES}})} if noted else None
    )


def write_stream(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows)


def save_to_disk(folder: Path, splits) -> None:
    """As `DatasetDict.save_to_disk` writes it, each split in two files."""
    folder.mkdir()
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [*splits]}))
    for name, rows in splits.items():
        middle = rows.num_rows // 2
        files = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
        for file, part in zip(files, (rows.slice(0, middle), rows.slice(middle)), strict=True):
            write_stream(folder / name / file, part)
        state = {"_data_files": [{"filename": file} for file in files], "_split": name}
        (folder / name / "state.json").write_text(json.dumps(state))


def export(folder: Path, splits) -> None:
    """As hubs keep it."""
    (folder / "data").mkdir(parents=True)
    for name, rows in splits.items():
        parquet.write_table(rows, folder / "data" / f"{name}-00000-of-00001.parquet", row_group_size=7)


def export_by_folders(folder: Path, splits) -> None:
    for name, rows in splits.items():
        (folder / name).mkdir(parents=True)
        parquet.write_table(rows, folder / name / "0000.parquet")


@pytest.fixture(scope="module")
def pixels():
    random = np.random.Generator(np.random.Philox(5))
    return {name: random.integers(0, 256, (count, 12, 10), np.uint8) for name, count in (("train", 23), ("test", 9))}


@pytest.mark.parametrize("write", [save_to_disk, export, export_by_folders])
def test_small_lossless_images_keep_their_pixels(tmp_path, pixels, write, capsys):
    splits = {name: table(map(image_file, images), np.arange(len(images)) % 3) for name, images in pixels.items()}
    write(tmp_path / "tables", splits)
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")
    manifest = read_manifest(tmp_path / "mine")
    assert (manifest.name, manifest.classes, manifest.image_shape) == ("mine", tuple(NAMES), (12, 10, 3))
    for name, images in pixels.items():
        dataset = open_dataset(tmp_path / "mine" / f"{name}.tar")
        assert dataset.labels.tolist() == [i % 3 for i in range(len(images))]
        for sample, image in enumerate(images):
            np.testing.assert_array_equal(dataset[sample][0], np.repeat(image[..., None], 3, 2))
    out = capsys.readouterr().out
    assert "tables: train 23, test 9 images in column img, 3 classes in column label\n" in out
    assert "read back: 32 samples as the manifest says" in out
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")
    assert "is already there" in capsys.readouterr().out


def test_grey_images_stay_grey_if_asked(tmp_path, pixels):
    export(tmp_path / "tables", {"train": table(map(image_file, pixels["train"]), np.zeros(23, int))})
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", channels=1)
    np.testing.assert_array_equal(open_dataset(tmp_path / "mine" / "train.beton").images[..., 0], pixels["train"])


def test_jpeg_images_keep_their_coefficients_and_others_become_jpeg(tmp_path):
    images = [np.full((20 + k, 30, 3), 10 * k, np.uint8) for k in range(8)]
    contents = [image_file(image, "JPEG" if k % 2 else "PNG") for k, image in enumerate(images)]
    labels = [["b", "a"][k % 2] for k in range(8)]
    rows = table(contents, labels, noted=False)
    export(tmp_path / "tables", {"train": rows})
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali", max_side=26)
    convert_huggingface(tmp_path / "tables", tmp_path / "whole", "dali")
    dataset = open_dataset(tmp_path / "whole" / "train.tar")
    assert read_manifest(tmp_path / "whole").classes == ("a", "b"), "strings are numbered in sorted order"
    assert dataset.labels.tolist() == [1, 0] * 4
    for sample in range(8):
        assert dataset[sample][0].shape == images[sample].shape
        stored = dataset.bytes(sample).tobytes()
        assert stored == with_restart_rows(contents[sample]) if sample % 2 else stored.startswith(b"\xff\xd8")
    assert open_dataset(tmp_path / "mine" / "train.tar").widths.max() == 26
    with pytest.raises(ValueError, match="--channels 1 needs images that are stored raw: add --store raw"):
        convert_huggingface(tmp_path / "tables", tmp_path / "grey", "dali", channels=1)


@pytest.mark.parametrize("store", ["raw", "jpeg"])
def test_what_was_done_to_pixels_is_told(tmp_path, capsys, store):
    def image(mode, kind, **options):
        buffer = io.BytesIO()
        Image.new(mode, (16, 16)).save(buffer, kind, **options)
        return buffer.getvalue()

    tag = Image.Exif()
    tag[0x0112] = 6
    frames = {"save_all": True, "append_images": [Image.new("L", (16, 16), 255)]}
    train = [image("RGBA", "PNG"), image("LA", "PNG"), image("RGB", "PNG"), image("I;16", "PNG")]
    test = [image("RGB", "JPEG", exif=tag), image("L", "GIF", **frames), image("RGBA", "PNG")]
    splits = {"train": table(train, [0, 1, 2, 0]), "test": table(test, [0, 1, 2])}
    export(tmp_path / "tables", splits)
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali", store=store)
    told = [
        "1 image with an orientation tag: pixels are as stored",
        "3 images with an alpha channel: it is dropped",
        "1 image of more than 8 bits: scaled to 8 bits by the range of their type",
        "1 image of several frames: the first is taken",
    ]
    assert read_manifest(tmp_path / "mine").inventory["notes"] == told
    assert [line[6:] for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")] == told


def test_a_split_without_labels_is_left_out_and_told(tmp_path, pixels, capsys):
    files = [image_file(image) for image in pixels["test"]]
    export(tmp_path / "tables", {"train": table(files, [0, 1, 2] * 3), "test": table(files, [-1] * 9)})
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")
    assert "left out: test, 9 images, 9 of them without a label\n" in capsys.readouterr().out
    assert [*read_manifest(tmp_path / "mine").splits] == ["train"]


def test_files_that_are_missing_are_told(tmp_path, pixels, capsys):
    files = [image_file(image) for image in pixels["test"]]
    export(tmp_path / "tables", {"train": table(files, [0, 1, 2] * 3)})
    (whole,) = (tmp_path / "tables").rglob("*.parquet")
    whole.rename(whole.parent / "train-00001-of-00003.parquet")
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")
    missing = "train-00000-of-00003 or train-00003-of-00003, train-00002-of-00003"
    told = f"left out: files of train, which are not there: {missing}"
    assert f"{told}\n" in capsys.readouterr().out
    assert read_manifest(tmp_path / "mine").inventory["notes"] == [told]


def test_a_split_without_a_column_of_labels_is_left_out_and_told(tmp_path, pixels, capsys):
    files = [image_file(image) for image in pixels["test"]]
    export(tmp_path / "tables", {"train": table(files, [0, 1, 2] * 3), "test": table(files, [0] * 9).drop(["label"])})
    convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")
    assert "left out: test, which has no column label\n" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "mine")
    assert [*manifest.splits] == ["train"]
    assert manifest.inventory["notes"] == ["left out: test, which has no column label"]


def test_splits_that_number_the_classes_differently_are_refused(tmp_path, pixels):
    rows = table([image_file(image) for image in pixels["test"]], [0, 1, 2] * 3)
    noted = {"info": {"features": FEATURES | {"label": {"_type": "ClassLabel", "names": NAMES[::-1]}}}}
    other = rows.replace_schema_metadata({"huggingface": json.dumps(noted)})
    export(tmp_path / "tables", {"train": rows, "test": other})
    with pytest.raises(
        ValueError, match=r"name the classes of column 'label' differently \(cat, dog, owl; owl, dog, c"
    ):
        convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")


def test_files_that_end_in_the_name_of_a_split_belong_to_it(tmp_path, pixels):
    for name, images in pixels.items():
        rows = table(map(image_file, images), np.zeros(len(images), int))
        parquet.write_table(rows, tmp_path / f"faces_{name}.parquet")
    convert_huggingface(tmp_path, tmp_path / "mine", "dali")
    splits = read_manifest(tmp_path / "mine").splits
    assert {name: split.num_samples for name, split in splits.items()} == {"train": 23, "test": 9}


def test_other_tables_or_options_than_those_of_the_first_call_are_refused(tmp_path, pixels):
    rows = table(map(image_file, pixels["train"]), np.zeros(23, int))
    for name in ("one", "two"):
        export(tmp_path / name, {"train": rows})
    convert_huggingface(tmp_path / "one", tmp_path / "mine", "dali")
    with pytest.raises(ValueError, match=r"holds another conversion \(images was one and is now two\): delete it, or"):
        convert_huggingface(tmp_path / "two", tmp_path / "mine", "dali")
    with pytest.raises(ValueError, match=r"holds another conversion \(store was auto and is now jpeg\): delete it, or"):
        convert_huggingface(tmp_path / "one", tmp_path / "mine", "dali", store="jpeg")


def test_what_will_not_do(tmp_path, pixels, monkeypatch):
    files = [image_file(image) for image in pixels["test"]]
    out = tmp_path / "mine"

    def refused(rows, match, **options):
        folder = tmp_path / f"tables{len([*tmp_path.iterdir()])}"
        export(folder, {"train": rows})
        with pytest.raises(ValueError, match=match):
            convert_huggingface(folder, out, "dali", **options)
        return folder

    good = table(files, [0, 1, 2] * 3)
    refused(table(files, [0, 1, 7] * 3), r"column 'label': labels are 0 to 7, allowed: 0 to 2")
    refused(table([*files[:8], b""], [0] * 9), r"parquet: row 8 holds nothing where an image should be")
    refused(
        table([*files[:8], files[8][:60]], [0] * 9), r"parquet: row 8: the image cannot be used|row 8 cannot be used"
    )
    refused(good, "no column 'target', its columns are img, label, id", label_column="target")
    refused(
        table(files, [0] * 9, noted=False).rename_columns(["img", "a", "b"]), r"holds the labels\? Say so with --label"
    )
    colour = table([image_file(np.zeros((12, 10, 3), np.uint8))] * 9, [0] * 9)
    refused(colour, r"row 0: the image cannot be used: it is RGB, and --channels 1 needs grey images", channels=1)
    folder = refused(good, "'id' is int64, needed: encoded images", image_column="id")
    (folder / "other").mkdir()
    (folder / "other" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="holds several configurations, in the folders data, other: give one of them"):
        convert_huggingface(folder, out, "dali")
    with pytest.raises(ValueError, match=r"test-00000-of-00001\.parquet cannot be read .*: get it again"):
        convert_huggingface(folder / "other", out, "dali")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no Parquet or Arrow files"):
        convert_huggingface(empty, out, "dali")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: give a folder of Parquet or Arrow files"):
        convert_huggingface(tmp_path / "nowhere", out, "dali")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"reading Parquet and Arrow needs pyarrow .*: pip install pyarrow"):
        convert_huggingface(folder / "data", out, "dali")


def test_a_folder_of_save_to_disk_names_only_what_lies_in_it(tmp_path, pixels):
    rows = table(map(image_file, pixels["train"]), np.zeros(23, int))
    save_to_disk(tmp_path / "tables", {"train": rows})
    state = tmp_path / "tables" / "train" / "state.json"
    for content, match in (
        ({"_data_files": [{"filename": "../secret.arrow"}]}, "names '../secret.arrow', allowed is the plain name"),
        ({"_data_files": []}, "names no _data_files: save the data set again"),
        ({"_data_files": [{"filename": "x"}], "_indices_data_files": [{"filename": "i"}]}, r"call flatten_indices\(\)"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, r"gone\.arrow (does not exist|cannot be read)"),
    ):
        state.write_text(json.dumps(content))
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            convert_huggingface(tmp_path / "tables", tmp_path / "mine", "dali")
