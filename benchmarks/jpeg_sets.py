"""The JPEG images of `benchmarks.jpeg`: synthetic ones, and the textures of a game, from Debian.

Each set is a folder: `source`, the files as they are; `plain.beton`, the same streams; and `rows.beton`, in which rows
end in restart markers, as `convert/folder.py` writes them.
"""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from convert.writers.beton import write_jpeg_beton
from convert.writers.streams import Stream, spooled
from loaders.formats.jpeg.restart import with_restart_rows

PACKAGE = "openarena-081-textures"
"""Of Debian, under the GPL: downloaded for a measurement, never shipped."""
SMALLEST = 400  # pixels of the shorter side


def synthetic(folder: Path, num: int) -> Path:
    """Images of 400 to 500 pixels that compress like photographs, made on the first call."""
    return _converted(folder / "synthetic", lambda: _drawn(num))


def real(folder: Path) -> Path:
    """The textures of at least 400 pixels, downloaded by apt-get on the first call."""
    return _converted(folder / "real", lambda: _downloaded(folder))


def _converted(folder: Path, make) -> Path:
    if (folder / "rows.beton").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "source").mkdir(parents=True)
    streams = list(make())
    for i, content in enumerate(streams):
        (folder / "source" / f"{i:05d}.jpg").write_bytes(content)
    rows = [with_restart_rows(content) or content for content in streams]
    for name, contents in (("plain", streams), ("rows", rows)):
        images = (Stream(content, *_size(content), np.zeros((3, 256), np.int64)) for content in contents)
        with spooled(folder / name, images, np.arange(len(streams)) % 10) as spool:
            write_jpeg_beton(folder / f"{name}.beton", spool)
    return folder


def _size(content: bytes) -> tuple[int, int]:
    width, height = Image.open(io.BytesIO(content)).size
    return height, width


def _drawn(num: int):
    rng = np.random.default_rng(0)
    canvases = [canvas(rng) for _ in range(4)]
    for i in range(num):
        height, width = rng.integers(400, 501, 2)
        whole = canvases[i % 4]
        top, left = rng.integers(0, len(whole) - height), rng.integers(0, len(whole) - width)
        pixels = whole[top : top + height, left : left + width] * rng.uniform(0.6, 1.2) + rng.uniform(90, 160)
        stream = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        yield stream.getvalue()


def canvas(rng: np.random.Generator, size: int = 1600) -> np.ndarray:
    """Octaves of smooth noise, the finer the weaker, which compress like photographs; float32 [size, size, 3]."""
    out = np.zeros((size, size, 3), np.float32)
    for octave in range(2, 11):
        cells = min(2**octave, size)
        noise = (rng.normal(size=(cells, cells, 3)) * 300 / 2 ** (octave * 0.62)).astype(np.float32)
        noise = noise * 0.3 + noise.mean(axis=2, keepdims=True)  # colour varies less than brightness
        for c in range(3):
            out[..., c] += np.asarray(Image.fromarray(noise[..., c]).resize((size, size), Image.Resampling.BICUBIC))
    return out


def _downloaded(folder: Path):
    download = folder / "download"
    download.mkdir(parents=True, exist_ok=True)
    if not list(download.glob("*.deb")):
        subprocess.run(["apt-get", "download", PACKAGE], cwd=download, check=True)
    (package,) = download.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=download, check=True)
    for archive in sorted(download.rglob("*.pk3")):
        with zipfile.ZipFile(archive) as members:
            for name in sorted(members.namelist()):
                if name.lower().endswith(".jpg"):
                    content = members.read(name)
                    image = Image.open(io.BytesIO(content))
                    if min(image.size) >= SMALLEST and image.mode == "RGB":
                        yield content
