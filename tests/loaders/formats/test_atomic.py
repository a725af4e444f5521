import errno

import pytest

from loaders.formats import atomic
from loaders.formats.atomic import atomic_path


def test_appears_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"abc")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"abc"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_failure_leaves_the_older_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"no space left while writing .*file \(after 4 bytes\); nothing was kept: free some space"),
        (errno.EDQUOT, r"quota reached while writing .*file \(after 4 bytes\)"),
        (errno.EIO, r"could not write .*file \(Input/output error, after 4 bytes\); nothing was kept: check the disk"),
    ],
)
def test_a_disk_that_fails_is_one_sentence(tmp_path, monkeypatch, number, message):
    def fsync(descriptor):
        raise OSError(number, atomic.os.strerror(number))

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(OSError, match=message) as caught, atomic_path(tmp_path / "file") as temporary:
        temporary.write_bytes(b"half")
    assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == []
