"""Small trees of images: the bytes of one image of each format, written wherever a test wants them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.sources.labelled_images import Choices, FoundImages, find_images


def image_file(format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)).save(buffer, format)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def image_files() -> dict[str, bytes]:
    return {format: image_file(format) for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")}


@pytest.fixture
def tree(tmp_path, image_files):
    """tree({path: bytes, a format, or None for an empty folder}) -> a folder; a list of paths is of JPEG files."""

    def make(files: dict[str, bytes | str | None] | list[str]) -> Path:
        root = tmp_path / "images"
        for name, content in (files if isinstance(files, dict) else dict.fromkeys(files, "JPEG")).items():
            path = root / name
            (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(image_files[content] if isinstance(content, str) else content)
        return root

    return make


@pytest.fixture
def tar(tmp_path, image_files):
    """tar(name, [(member, bytes or a format)]) -> a tar."""

    def make(name: str, members: list[tuple[str, bytes | str]]) -> Path:
        (tmp_path / "tars").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tars" / name, "w") as archive:
            for member, content in members:
                found = image_files[content] if isinstance(content, str) else content
                info = tarfile.TarInfo(member)
                info.size = len(found)
                archive.addfile(info, io.BytesIO(found))
        return tmp_path / "tars" / name

    return make


@pytest.fixture
def find():
    """find(source, **choices) -> (the found images, {split: [(name, label)]})."""

    def call(source: Path, **choices) -> tuple[FoundImages, dict[str, list[tuple[str, int]]]]:
        found = find_images(source, Choices(**choices))
        return found, {split: [(image.name, image.label) for image in images] for split, images in found.splits.items()}

    return call
