import hashlib
import os
import pickle

import numpy as np
import pytest

from convert.sources.cifar.verified_pickle import load_verified_pickle
from tests.convert.conftest import python2_pickle

IMAGES = np.random.Generator(np.random.Philox(3)).integers(0, 256, (5, 32, 32, 3), np.uint8)
PUBLISHED = python2_pickle(IMAGES, [3, 1, 4, 1, 5])


def load(content):
    """Load a pickle whose checksum is right: what the names alone must hold back."""
    return load_verified_pickle(content, hashlib.md5(content).hexdigest())


class Program:
    """Unpickling this runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_batch_of_python_2():
    batch = load(PUBLISHED)
    assert batch["labels"] == [3, 1, 4, 1, 5]
    np.testing.assert_array_equal(batch["data"], IMAGES.transpose(0, 3, 1, 2).reshape(5, -1))
    assert batch["data"].dtype == np.uint8


def test_other_content_is_not_even_unpickled(monkeypatch):
    monkeypatch.setattr(pickle, "Unpickler", None)
    with pytest.raises(ValueError, match=r"wrong checksum: its MD5 is [0-9a-f]{32}, the published one is 0{32}$"):
        load_verified_pickle(PUBLISHED, "0" * 32)


def nested_key():
    """A few bytes whose hash takes hours: a tuple of two of the tuple before, forty times, as a key."""
    return b"\x80\x02}" + b"K\x01" + b"2\x86" * 40 + b"K\x01s."


@pytest.mark.parametrize(
    "content",
    [
        nested_key(),
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of two billion entries
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",  # bytes that claim to be 2^63 long
        b"(" * 10_000_000,
    ],
)
def test_what_would_hang_or_explode_is_not_even_unpickled(content):
    with pytest.raises(ValueError, match="wrong checksum"):
        load_verified_pickle(content, hashlib.md5(PUBLISHED).hexdigest())


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_program_is_refused_and_not_run(tmp_path, protocol):
    trace = tmp_path / "was-here"
    with pytest.raises(ValueError, match=r"cannot be unpickled \(UnpicklingError: it asks for posix\.system, allowed"):
        load(pickle.dumps({"data": Program(trace)}, protocol))
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cbuiltins\neval\nU\x031+1\x85R.",
        b"\x80\x02cnumpy\nload\nU\x01x\x85R.",  # another name of NumPy
        b"\x80\x02(U\x01xios\nsystem\n.",  # the opcode INST
        b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",  # an attribute of an allowed name
    ],
)
def test_other_names_are_refused(content):
    with pytest.raises(ValueError, match=r"it asks for .*, allowed: arrays and plain values"):
        load(content)


def test_other_arrays_are_refused():
    content = PUBLISHED.replace(b"U\x02u1", b"U\x02i8")
    with pytest.raises(ValueError, match="an array of type 'i8', allowed: uint8"):
        load(content)


def test_every_truncation_is_noticed():
    for length in (*range(400), *range(len(PUBLISHED) - 60, len(PUBLISHED))):
        with pytest.raises(ValueError, match="cannot be unpickled"):
            load(PUBLISHED[:length])


@pytest.mark.parametrize("content", [b"\x80\x02h\x05.", b"\x80\x02e.", b"\x80\x02]K\x01u.", b"\x80\x02(.", b"."])
def test_damage_is_a_value_error(content):
    with pytest.raises(ValueError, match="cannot be unpickled"):
        load(content)
