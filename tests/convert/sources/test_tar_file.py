"""Tar headers that lie: a petabyte, a negative size, a sparse file, a line that never ends. One sentence for each."""

import gzip
import io
import tarfile

import pytest

from convert.sources.tar_file import list_members, read_members


def tar(members: dict[str, bytes], **fields) -> bytes:
    """An archive; `fields` are set in the last header."""
    content = b""
    for number, (name, data) in enumerate(members.items()):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        for key, value in fields.items() if number == len(members) - 1 else ():
            setattr(member, key, value)
        content += member.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return content + bytes(1024)


TWO = {"a.jpg": b"1" * 600, "a.cls": b"3"}
LIES = [
    ({"size": 1 << 50}, "its member a.cls claims 1,125,899,906,842,624 bytes, and"),
    ({"size": -512}, "is sparse, or has no possible size|cut or damaged"),
    ({"type": tarfile.GNUTYPE_LONGNAME, "size": 1 << 50}, "."),
    ({"type": tarfile.XHDTYPE, "size": 1 << 50}, "."),
    ({"type": tarfile.XHDTYPE, "size": -1024}, "."),
    ({"type": tarfile.GNUTYPE_SPARSE}, "."),
]


def test_whole_archives(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar(TWO))
    members = list_members(tmp_path / "x.tar")
    assert [(member.name, member.size, member.offset_data) for member in members] == [
        ("a.jpg", 600, 512),
        ("a.cls", 1, 2048),
    ]
    (tmp_path / "x.tgz").write_bytes(gzip.compress(tar(TWO)))
    assert read_members(tmp_path / "x.tgz", {"a.cls"}, 1000) == {"a.cls": b"3"}


@pytest.mark.parametrize(("fields", "message"), LIES)
def test_lies(tmp_path, fields, message):
    path = tmp_path / "x.tar"
    path.write_bytes(tar(TWO, **fields))
    with pytest.raises(ValueError, match=message) as caught:
        list_members(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    path.write_bytes(gzip.compress(tar(TWO, **fields)))
    try:  # a member that is not wanted may claim what it likes
        assert read_members(path, {"a.cls"}, 1000).keys() <= {"a.cls"}
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_pax_headers_that_lie(tmp_path):
    """A size of their own, a sparse map whose line never ends."""
    for headers in ({"size": "-512"}, {"size": "9" * 30}, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            member = tarfile.TarInfo("a.jpg")
            member.pax_headers, member.size = headers, 512
            archive.addfile(member, io.BytesIO(b"1" * 512))
        path = tmp_path / "x.tar"
        path.write_bytes(buffer.getvalue())
        with pytest.raises(ValueError, match=r"x\.tar is not a whole tar"):
            list_members(path)


def test_a_packed_bomb(tmp_path):
    """Two kilobytes of zeros' worth of gigabytes: the claim is refused before a byte of it is unpacked."""
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(tar({"a": bytes(20 << 20)})))
    with pytest.raises(ValueError, match="its member a claims 20,971,520 bytes, at most 1,000 are allowed"):
        read_members(path, {"a"}, 1000)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="is not a whole tar"):
        read_members(path, {"b"}, 1000)
    path.write_bytes(b"BZh91AY&SY" + bytes(50))
    with pytest.raises(ValueError, match=r"x\.tgz is not a whole tar"):
        read_members(path, {"a"}, 1000)
