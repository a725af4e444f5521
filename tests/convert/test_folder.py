"""Any folder or tar of images to JPEG files: the same bytes each time, small JPEGs untouched, readable by others."""

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from convert.sources.labelled_images import find_images
from convert.sources.restart_rows import with_restart_rows
from loaders.formats.manifest import read_manifest
from loaders.formats.open import open_dataset
from tests.stock_ffcv import read_by_stock_ffcv

ROOT = Path(__file__).resolve().parents[2]


def image(seed: int, height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two splits, classes "ant" and "bee", every kind of file that is treated differently."""
    folder = tmp_path_factory.mktemp("source")
    for split in ("train", "val"):
        for label, name in enumerate(("bee", "ant")):
            (folder / split / name / "deeper").mkdir(parents=True)
            for i in range(6):
                kind = ("a.jpg", "b.JPEG", "c.png", "d.jpg", "e.jpg", "deeper/f.jpg")[i]
                made = image(10 * label + i, 80 + i, 220 if i == 3 else 100)
                made = made.convert("L") if i == 4 else made
                options = {"progressive": True} if i == 1 else {}
                made.save(folder / split / name / kind, **options)
    (folder / "train" / "ant" / "notes.txt").write_text("no image")
    (folder / "train" / "ant" / ".hidden.jpg").write_text("no image")
    return folder


def convert(source: Path, root: Path, **options) -> dict[str, bytes]:
    convert_folder(source, root, **options)
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_same_bytes_with_any_number_of_workers(source, tmp_path):
    files = convert(source, tmp_path / "1" / "x", format="both", max_side=120, workers=1)
    names = {f"{split}.{ending}" for split in ("train", "val") for ending in ("beton", "tar", "idx")}
    assert set(files) == names | {"manifest.json"}
    assert convert(source, tmp_path / "2" / "x", format="both", max_side=120, workers=5) == files


def test_ids_are_the_sorted_order_and_small_jpegs_are_kept(source, tmp_path):
    convert(source, tmp_path / "x", format="both", max_side=120)
    dataset = open_dataset(tmp_path / "x" / "train.tar")
    assert dataset.labels.tolist() == [0] * 6 + [1] * 6
    assert find_images(source).classes == read_manifest(tmp_path / "x").classes == ("ant", "bee")
    for label, name in enumerate(("ant", "bee")):
        kept = {0: "a.jpg", 1: "b.JPEG", 5: "e.jpg", 3: "d.jpg", 4: "deeper/f.jpg", 2: "c.png"}
        for row, file in kept.items():
            stored, original = dataset.bytes(6 * label + row).tobytes(), (source / "train" / name / file).read_bytes()
            kept_whole = stored == with_restart_rows(original) if file != "c.png" else False
            assert kept_whole == (file in ("a.jpg", "b.JPEG", "deeper/f.jpg")), file
    assert max(dataset.heights.max(), dataset.widths.max()) == 120
    assert Image.open(io.BytesIO(dataset.bytes(5).tobytes())).mode == "RGB"  # it was grey


@pytest.mark.ffcv
@pytest.mark.slow
def test_stock_ffcv_reads_the_beton(source, tmp_path):
    convert(source, tmp_path / "x")
    ((images, labels),) = read_by_stock_ffcv(tmp_path / "x" / "train.beton", side=64)
    assert labels.tolist() == [0] * 6 + [1] * 6
    for row, file in enumerate(("a.jpg", "b.JPEG")):
        image = Image.open(source / "train" / "ant" / file)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        wanted = image.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.BOX)
        assert np.abs(images[row].astype(int) - np.asarray(wanted)).mean() < 3


@pytest.mark.dali
def test_stock_dali_reads_the_tar(source, tmp_path):
    from nvidia.dali import fn, pipeline_def

    convert(source, tmp_path / "x", format="tar")
    tar, index = str(tmp_path / "x" / "train.tar"), str(tmp_path / "x" / "train.idx")

    @pipeline_def(batch_size=12, num_threads=1, device_id=None)
    def pipeline():
        streams, labels = fn.readers.webdataset(paths=[tar], index_paths=[index], ext=["jpg", "cls"])
        return streams, labels

    pipe = pipeline()
    pipe.build()
    streams, labels = pipe.run()
    dataset = open_dataset(tar)
    for i in range(12):
        assert np.array_equal(streams.at(i), dataset.bytes(i))
        assert int(bytes(np.array(labels.at(i)))) == dataset.labels[i]


def test_a_tar_gives_the_files_that_its_folder_gave(source, tmp_path):
    files = convert(source, tmp_path / "x", format="both")
    again = convert(tmp_path / "x" / "train.tar", tmp_path / "y", format="both")
    for name in ("train.beton", "train.tar", "train.idx"):
        assert again[name] == files[name]


def test_another_format_joins_the_first(source, tmp_path):
    tars = convert(source, tmp_path / "x", format="tar")
    both = convert(source, tmp_path / "x", format="both")
    assert all(both[name] == tars[name] for name in tars if name != "manifest.json")
    assert "train.beton" in both
    assert convert(source, tmp_path / "x", format="beton") == both


def test_a_plain_folder_is_one_split(source, tmp_path):
    convert(source / "val", tmp_path / "x", format="tar")
    manifest = read_manifest(tmp_path / "x")
    assert list(manifest.splits) == ["train"]
    assert manifest.splits["train"].num_samples == 12
    assert manifest.image_shape == (0, 0, 3)


def test_postscript_under_an_images_name_starts_no_program(tmp_path, monkeypatch):
    """Pillow would hand it to Ghostscript."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"
    for split in ("train", "test"):
        (tmp_path / "in" / split / "a").mkdir(parents=True)
        (tmp_path / "in" / split / "a" / "x.jpg").write_bytes(text)
    with pytest.raises(ValueError, match=r"x\.jpg: PostScript or PDF, which is never opened"):
        convert(tmp_path / "in", tmp_path / "out")


def test_a_broken_image_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "source" / "a").mkdir(parents=True)
    for i in range(40):
        image(i, 20, 20).save(tmp_path / "source" / "a" / f"{i:02d}.jpg")
    whole = (tmp_path / "source" / "a" / "17.jpg").read_bytes()
    (tmp_path / "source" / "a" / "17.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1 file cannot be used \(a/17\.jpg: cut short\): repair or remove it, or"):
        convert_folder(tmp_path / "source", tmp_path / "x", format="tar")
    assert not (tmp_path / "x").exists()


def test_a_second_conversion_that_fails_leaves_the_first(source, tmp_path):
    files = convert(source, tmp_path / "x", format="tar")
    broken = shutil.copytree(source, tmp_path / "broken")
    (broken / "val" / "ant" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"val/ant/a\.jpg: text and no image\): repair or remove it"):
        convert_folder(broken, tmp_path / "x", format="both")
    assert all((tmp_path / "x" / name).read_bytes() == content for name, content in files.items())


def test_other_images_leave_no_file_of_the_first(source, tmp_path, capsys):
    convert(source, tmp_path / "x", format="beton")
    other = shutil.copytree(source, tmp_path / "other")
    for split in ("train", "val"):
        image(99, 30, 30).save(other / split / "ant" / "a.jpg")
    files = convert(other, tmp_path / "x", format="tar")
    assert set(files) == {"manifest.json", "train.tar", "train.idx", "val.tar", "val.idx"}
    said = capsys.readouterr().out
    assert all(
        f"removing {tmp_path / 'x' / name}: it holds other images" in said for name in ("train.beton", "val.beton")
    )
    shutil.rmtree(other / "val")
    assert set(convert(other, tmp_path / "x", format="both")) == {
        "manifest.json",
        *("train.beton", "train.tar", "train.idx"),
    }


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_tar_damaged_behind_its_beginning(tmp_path, damage):
    members = {}
    for i in range(8):
        members |= {f"{i}.jpg": b"\xff" * 600, f"{i}.cls": b"1"}
    path = tar_of(tmp_path / "x.tar", members)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        header = archive.getmember("5.jpg").offset
    if damage == "cut":
        content = content[:header]
    else:
        content[header + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"is not a whole tar .it is cut or damaged at byte {header:,}"):
        convert_folder(path, tmp_path / "out", format="tar")


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.txt": b"1"}, "holds no images"),
        ({"a.jpg": b"1"}, r"the sample a has no label, needed: a member a\.cls"),
        ({"a.jpg": b"1", "a.cls": b"cat"}, "the sample a has no label"),
        ({"a.jpg": b"1", "a.cls": b"0"}, r"1 file cannot be used \(x\.tar: a\.jpg: text and no image\)"),
        ({"a.jpg": b"1", "a.cls": b"cat"}, r"\(a tar of class folders is to be unpacked first\)"),
    ],
)
def test_tars_that_will_not_do(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        convert_folder(tar_of(tmp_path / "x.tar", members), tmp_path / "out", format="tar")


def test_images_of_other_splits_only_are_refused(tmp_path):
    """By a table of labels, by the names of tars, and where every image of the split train is broken."""
    (tmp_path / "flat" / "test").mkdir(parents=True)
    image(0, 20, 20).save(tmp_path / "flat" / "test" / "a.jpg")
    (tmp_path / "labels.csv").write_text("image,label\na.jpg,cat\n")
    content = (tmp_path / "flat" / "test" / "a.jpg").read_bytes()
    tar = tar_of(tmp_path / "test-0.tar", {"a.jpg": content, "a.cls": b"0"})
    message = "no image of the split train can be used, there are only images of test: the folders of splits, or the"
    with pytest.raises(ValueError, match=message):
        convert_folder(tmp_path / "flat", tmp_path / "x", labels=tmp_path / "labels.csv")
    with pytest.raises(ValueError, match=message):
        convert_folder(tar, tmp_path / "x", dry_run=True)
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="no image of the split train can be used: the folders of splits"):
        convert_folder(tmp_path / "broken", tmp_path / "x", skip_broken=True)
    assert not (tmp_path / "x").exists()


def test_other_wrong_input(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(ValueError, match="holds no images, needed: <class>"):
        convert_folder(tmp_path / "empty", tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: give a folder of images or a tar"):
        convert_folder(tmp_path / "nowhere", tmp_path / "x")
    with pytest.raises(ValueError, match="is not a whole tar"):
        convert_folder(tmp_path / "no.tar", tmp_path / "x")
    with pytest.raises(ValueError, match="--quality is 100, allowed: 1 to 95"):
        convert_folder(tmp_path / "empty", tmp_path / "x", quality=100)


def test_the_command_line(source, tmp_path):
    def call(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "convert/folder.py", *words, "--root", str(tmp_path / "x"), "--format", "tar"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, cwd=ROOT)

    first = call(str(source), "--max-side", "64")
    assert (first.returncode, first.stderr) == (0, "")
    assert "already there" in call(str(source), "--max-side", "64").stdout
    other = call(str(tmp_path / "nowhere"), "--val-as-test")
    assert (other.returncode, other.stdout) == (1, "")
    said = f"images was {source.name} and is now nowhere, val_as_test was False and is now True, max_side was 64 and is"
    assert f"{tmp_path / 'x'} holds another conversion ({said} now 0): delete it, or" in other.stderr
    (tmp_path / "x" / "manifest.json").unlink()
    assert call(str(tmp_path / "nowhere")).stderr.startswith(f"error: {tmp_path / 'nowhere'} does not exist")
