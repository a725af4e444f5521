"""What a conversion of one's own images tells before, during and after, and what its pixels are."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from convert.sources.folder.inventory import told
from convert.sources.restart_rows import with_restart_rows
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset
from loaders.formats.pixels import image_file

ROOT = Path(__file__).resolve().parents[2]
DAISY = np.kron(np.arange(12).reshape(3, 4) * 20, np.ones((16, 16))).astype(np.uint8)


def save(path: Path, image: np.ndarray | Image.Image = DAISY, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


@pytest.fixture
def source(tmp_path):
    """Two classes of two images in each of two splits."""
    folder = tmp_path / "flowers"
    for split in ("train", "test"):
        for name in ("daisy", "rose"):
            for i in range(2):
                save(folder / split / name / f"{i}.jpg", np.repeat(DAISY[..., None], 3, axis=2))
    return folder


def convert(source: Path, root: Path, **options) -> Path:
    convert_folder(source, root, format="tar", workers=2, **options)
    return root


def pixels(root: Path, sample: int) -> np.ndarray:
    return open_dataset(root / "train.tar")[sample][0]


def test_a_dry_run_tells_all_and_writes_nothing(source, tmp_path):
    (source / "train" / "rose" / ".DS_Store").write_bytes(b"x")
    (source / "train" / "rose" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    save(source / "train" / "rose" / "deep.png", DAISY.astype(np.uint16) * 257)
    words = ["convert/folder.py", str(source), "--dry-run", "--range", "0", "65535", "--root", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=400, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "0 │ daisy │ 2 │ 2 │" in said
    assert "1 │ rose │ 3 │ 2 │" in said
    assert "│ 2 classes │ 5 │ 4 │" in said
    assert "left out: 2 files (1 .DS_Store, 1 .heic: Pillow has no reader)" in said
    assert "1 image of more than 8 bits: scaled to 8 bits by 0 to 65535 (--range LOW HIGH)" in said
    assert said.endswith("nothing is written: --dry-run")
    assert not (tmp_path / "out").exists()


def test_the_manifest_keeps_the_inventory_and_is_the_same_again(source, tmp_path):
    (source / "train" / "rose" / "Thumbs.db").write_bytes(b"x")
    root = convert(source, tmp_path / "x")
    inventory = read_manifest(root).inventory
    asked = inventory.pop("asked")
    assert (asked["images"], asked["quality"], asked["val_as_test"]) == (source.name, 90, False)
    assert inventory == {
        "counts": {"train": [2, 2], "test": [2, 2]},
        "left_out": {"Thumbs.db": 1},
        "broken": [],
        "notes": [],
    }
    assert "pixels as stored" in read_manifest(root).note
    again = convert(source, tmp_path / "again" / "x")
    assert (again / "manifest.json").read_bytes() == (root / "manifest.json").read_bytes()


def break_some(source: Path) -> None:
    whole = (source / "train" / "daisy" / "0.jpg").read_bytes()
    for name, content in (
        ("train/daisy/cut.jpg", whole[: len(whole) // 2]),
        ("train/rose/empty.jpg", b""),
        ("test/rose/page.jpg", b"<html>404</html>"),
        ("test/rose/cut.jpg", whole[: len(whole) // 2]),
    ):
        (source / name).write_bytes(content)


def test_all_broken_files_are_told_in_one_pass(source, tmp_path, capsys):
    break_some(source)
    with pytest.raises(ValueError, match=r"4 files cannot be used \(test/rose/page\.jpg: HTML and no image; .*"):
        convert(source, tmp_path / "x")
    said = capsys.readouterr().out
    assert "2 files: cut short\n    train/daisy/cut.jpg\n    test/rose/cut.jpg\n" in said
    assert "1 file: empty\n    train/rose/empty.jpg\n" in said
    assert "1 file: HTML and no image\n    test/rose/page.jpg\n" in said
    assert not (tmp_path / "x").exists()


def test_broken_files_are_left_out_and_listed(source, tmp_path, capsys):
    whole = convert(source, tmp_path / "whole" / "x")
    break_some(source)
    root = convert(source, tmp_path / "x", skip_broken=True)
    for name in ("train.tar", "train.idx", "test.tar", "test.idx"):
        assert (root / name).read_bytes() == (whole / name).read_bytes()
    assert read_manifest(root).inventory["broken"] == [
        ["test/rose/cut.jpg", "cut short"],
        ["test/rose/page.jpg", "HTML and no image"],
        ["train/daisy/cut.jpg", "cut short"],
        ["train/rose/empty.jpg", "empty"],
    ]
    assert read_manifest(root).inventory["counts"] == {"train": [2, 2], "test": [2, 2]}
    assert capsys.readouterr().out.count("train/rose/empty.jpg") == 1


def test_a_class_that_loses_all_its_images_is_refused(source, tmp_path):
    for i in range(2):
        (source / "train" / "rose" / f"{i}.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(ValueError, match=r"1 of 2 classes has no image in train: rose \(only in test\)"):
        convert(source, tmp_path / "x", skip_broken=True)
    root = convert(source, tmp_path / "x", skip_broken=True, allow_empty=True)
    assert read_manifest(root).classes == ("daisy", "rose")
    (source / "train" / "daisy" / "0.jpg").write_bytes(b"")
    (source / "train" / "daisy" / "1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="no image of the split train can be used"):
        convert(source, tmp_path / "y", skip_broken=True, allow_empty=True)


def test_orientation_tags_are_told_and_turned_without_loss_where_bytes_are_kept(source, tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    original = save(source / "train" / "daisy" / "0.jpg", np.repeat(DAISY[..., None], 3, axis=2), exif=exif)
    save(source / "train" / "daisy" / "1.tif", DAISY, exif=exif)
    note = "2 images with an orientation tag: pixels are as stored (--orient turns them)"
    root = convert(source, tmp_path / "x")
    assert note in capsys.readouterr().out
    assert read_manifest(root).inventory["notes"] == [note]
    assert open_dataset(root / "train.tar").bytes(0).tobytes() == with_restart_rows(original.read_bytes())
    assert pixels(root, 2).shape == (48, 64, 3)
    root = convert(source, tmp_path / "y", orient=True)
    assert "turned as orientation tags ask" in read_manifest(root).note
    assert read_manifest(root).inventory["notes"][0] == "2 images with an orientation tag: turned as it asks"
    for sample in (0, 2):
        assert np.abs(pixels(root, sample)[..., 0].astype(int) - np.rot90(DAISY, -1)).max() <= 6
    exif_of_turned = Image.open(io.BytesIO(open_dataset(root / "train.tar").bytes(0).tobytes())).getexif()
    assert 0x0112 not in exif_of_turned


def test_transparency_is_on_white_or_what_is_asked_for(source, tmp_path, capsys):
    clear = np.zeros((16, 16, 4), np.uint8)
    save(source / "train" / "daisy" / "0.png", clear)
    root = convert(source, tmp_path / "x")
    assert (pixels(root, 1) == 255).all()
    assert "1 image with an alpha channel: composited on white (--background)" in capsys.readouterr().out
    assert (pixels(convert(source, tmp_path / "y", background="#0000ff"), 1)[..., 2] > 250).all()
    with pytest.raises(ValueError, match="--background is 'whitish', allowed: a colour such as black"):
        convert(source, tmp_path / "z", background="whitish")


def test_very_large_images_are_not_broken(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 64 * 64)
    save(source / "train" / "daisy" / "0.jpg", Image.linear_gradient("L").convert("RGB"))
    with pytest.raises(ValueError, match=r"1 image is very large, which --max-side N .*first is train/daisy/0\.jpg"):
        convert(source, tmp_path / "x", skip_broken=True)
    root = convert(source, tmp_path / "x", max_pixels=1024)  # an eighth: exactly what the decoder can give
    assert pixels(root, 0).shape == (32, 32, 3)
    assert pixels(root, 1).shape == (27, 36, 3)
    assert "at most 1,024 pixels" in read_manifest(root).note
    assert "reduced, JPEG while it is decoded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": (5.0, 5.0)}, "--range is 5 5, allowed: the lower value first"),
        ({"split": 1.0}, "--split is 1, allowed: a fraction"),
        ({"depth": 0}, "--depth is 0, allowed: 1 or more"),
        ({"max_pixels": -1}, "--max-pixels is -1, allowed: 0 or more"),
        ({"split": 0.5}, "there is a test split already"),
    ],
)
def test_options_out_of_range(source, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "x", **options)


def test_many_classes_are_summed_up(tmp_path, capsys):
    for k in range(30):
        save(tmp_path / "many" / f"c{k:02d}" / "1.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"--split 0\.3 is less than half an image in each class"):
        convert_folder(tmp_path / "many", tmp_path / "x", split=0.3)
    convert_folder(tmp_path / "many", tmp_path / "x", dry_run=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "9 │ c09 │ 1 │ │ ... │ 20 more classes │ 1 to 1 │" in said


def test_many_kinds_of_files_are_summed_up():
    counts = {f".{k:02d}": 100 - k for k in range(20)} | {".none": 0}
    assert told(counts).startswith("100 .00, 99 .01, ")
    assert told(counts).endswith(f"90 .10, {sum(100 - k for k in range(11, 20))} of 9 other kinds")
    assert told({".b": 2, ".a": 2}) == "2 .a, 2 .b"
