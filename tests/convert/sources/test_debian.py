import os
import stat

import pytest

from convert.sources.debian import debian_package, unpack_debian


def fake(folder, name, script, monkeypatch):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_package_is_fetched_once(tmp_path, console, monkeypatch):
    fake(tmp_path, "apt-get", 'test "$1 $2 $3" = "download -q a" && echo hello > a_1_all.deb', monkeypatch)
    path = debian_package("a", tmp_path / "data", console)
    assert path == tmp_path / "data" / "a_1_all.deb"
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "apt-get").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian_package("a", tmp_path / "data", console) == path
    with pytest.raises(ConnectionError, match="the package b needs the command apt-get, which this machine does not"):
        debian_package("b", tmp_path / "data", console)


def test_what_fails_is_said(tmp_path, console, monkeypatch):
    fake(tmp_path, "apt-get", "echo 'E: Unable to locate package a' >&2; exit 100", monkeypatch)
    with pytest.raises(ConnectionError, match="apt-get download a failed: E: Unable to locate package a"):
        debian_package("a", tmp_path / "data", console)
    assert list((tmp_path / "data").iterdir()) == []
    (tmp_path / "a_1_all.deb").write_text("no archive")
    fake(tmp_path, "dpkg-deb", "echo 'not a Debian archive' >&2; exit 2", monkeypatch)
    with pytest.raises(ConnectionError, match=r"a_1_all\.deb cannot be unpacked: not a Debian archive"):
        unpack_debian(tmp_path / "a_1_all.deb", tmp_path)
