"""What ImageFolder, timm and webdataset say of the same trees, and where our rules differ on purpose.

docs/how-to/own_images.md states these differences. The peers are no dependency: a test is skipped without them.
"""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

from convert.sources.labelled_images import find_images

pytestmark = pytest.mark.slow


def peer(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a build for another torch raises anything
        pytest.skip(f"{name} cannot be imported: {error}")


def image_folder(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    dataset = peer("torchvision.datasets").ImageFolder(str(root))
    return dataset.classes, [(os.path.relpath(path, root), label) for path, label in dataset.samples]


def timm_folder(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    reader = peer("timm.data.readers.reader_image_folder").ReaderImageFolder(str(root))
    classes = sorted(reader.class_to_idx, key=lambda name: reader.class_to_idx[name])
    return classes, [(os.path.relpath(path, root), label) for path, label in reader.samples]


def ours(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    found = find_images(root)
    return [*found.classes], [(image.name, image.label) for image in found.splits["train"]]


def test_a_plain_tree_is_the_same_to_all(tree):
    root = tree(["b/1.jpg", "a/2.jpg", "a/10.jpg", "a/deeper/3.jpg"])
    assert ours(root) == (["a", "b"], [("a/10.jpg", 0), ("a/2.jpg", 0), ("a/deeper/3.jpg", 0), ("b/1.jpg", 1)])
    classes, samples = image_folder(root)
    assert (classes, {*samples}) == (ours(root)[0], {*ours(root)[1]})


def test_hidden_folders_are_classes_to_both_peers(tree):
    root = tree({"a/1.jpg": "JPEG", "a/._1.jpg": b"x", ".ipynb_checkpoints/1.jpg": "JPEG", "@eaDir/1.jpg": "JPEG"})
    assert ours(root) == (["a"], [("a/1.jpg", 0)])
    assert image_folder(root)[0] == [".ipynb_checkpoints", "@eaDir", "a"]
    assert ("a/._1.jpg", 2) in image_folder(root)[1]
    assert timm_folder(root)[0] == [".ipynb_checkpoints", "@eaDir", "a"]


def test_peers_go_by_suffixes_of_their_own(tree):
    files = {
        "a/1.jfif": "JPEG",
        "a/2.avif": "AVIF",
        "a/3.gif": "GIF",
        "a/4": "JPEG",
        "a/5.webp": "WEBP",
        "a/6.jpg": "JPEG",
    }
    root = tree(files)
    assert len(ours(root)[1]) == 6
    assert {path for path, _ in image_folder(root)[1]} == {"a/5.webp", "a/6.jpg"}
    assert {path for path, _ in timm_folder(root)[1]} == {"a/6.jpg"}


def test_order_of_numbers_and_leaf_folders(tree):
    root = tree(["1/1.jpg", "2/1.jpg", "10/1.jpg"])
    assert ours(root)[0] == image_folder(root)[0] == ["1", "10", "2"]
    assert timm_folder(root)[0] == ["1", "2", "10"]
    root = tree(["10/x/1.jpg"])
    assert timm_folder(root)[0] == ["1", "2", "10", "x"]


def test_pixels_of_16_bits_and_of_turned_tiff(tmp_path):
    import numpy as np
    from PIL import Image

    from loaders.formats.pixels.image_file import decode_image

    loader = peer("torchvision.datasets.folder").pil_loader
    Image.fromarray(np.array([[0, 1000, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(loader(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 255, 255, 255]
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, size in (("x.jpg", (8, 4)), ("x.png", (8, 4)), ("x.tif", (4, 8))):
        Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / name, exif=exif)
        assert loader(tmp_path / name).size == size
        assert decode_image((tmp_path / name).read_bytes(), ("JPEG", "PNG", "TIFF")).rgb.size == (8, 4)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its files
def test_keys_of_webdataset(tar):
    webdataset = peer("webdataset")

    def keys(path: Path) -> list[list[str]]:
        samples = webdataset.WebDataset(str(path), shardshuffle=False)
        return [
            [sample["__key__"], *sorted(sample.keys() - {"__key__", "__url__", "__local_path__"})] for sample in samples
        ]

    label = ("v1.5/a.cls", b"0")
    path = tar("x.tar", [("v1.5/a.JPG", "JPEG"), label, ("._a.jpg", b"x"), ("b/a.png", "PNG"), ("b/a.cls", b"1")])
    assert keys(path) == [["v1.5/a", "cls", "jpg"], ["b/a", "cls", "png"]]
    assert [label for _, label in ours(path)[1]] == [0, 1]
    path = tar("y.tar", [("v1.5_a.jpg", "JPEG"), ("v1.5_a.cls", b"0"), ("v1.5_b.jpg", "JPEG"), ("v1.5_b.cls", b"1")])
    assert keys(path) == [["v1", "5_a.cls", "5_a.jpg", "5_b.cls", "5_b.jpg"]]  # one sample without an image
    with pytest.raises(ValueError, match="a dot too many"):
        ours(path)
    path = tar("z.tar", [("a.jpg", "JPEG"), ("b.jpg", "JPEG"), ("a.cls", b"0"), ("b.cls", b"1")])
    assert keys(path) == [["a", "jpg"], ["b", "jpg"], ["a", "cls"], ["b", "cls"]]  # its members must lie together
    assert [label for _, label in ours(path)[1]] == [0, 1]
