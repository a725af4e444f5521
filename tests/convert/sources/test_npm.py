import os
import stat

import pytest

from convert.sources.npm import npm_pack
from loaders.formats.lock import lock_file


def fake_npm(folder, script, monkeypatch):
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_npm_is_not_installed(tmp_path, console, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConnectionError, match="package a@1 needs the command npm, which is not installed"):
        npm_pack("a@1", tmp_path / "data", console)


def test_npm_packs(tmp_path, console, monkeypatch):
    fake_npm(tmp_path, 'test "$1 $2 $3" = "pack a@1 --ignore-scripts" && echo hello > a-1.tgz', monkeypatch)
    left = tmp_path / "data" / ".npm-pack-killed"
    left.mkdir(parents=True)
    (left / "half").touch()
    with lock_file(tmp_path / "data" / "npm"), pytest.raises(BlockingIOError, match="is in use by process"):
        npm_pack("a@1", tmp_path / "data", console)
    assert left.exists()
    path = npm_pack("a@1", tmp_path / "data", console)
    assert path == tmp_path / "data" / "a-1.tgz"
    assert path.read_text() == "hello\n"
    assert list(path.parent.iterdir()) == [path]


def test_npm_fails(tmp_path, console, monkeypatch):
    fake_npm(tmp_path, "echo 'npm error code ENOTFOUND' >&2; exit 1", monkeypatch)
    with pytest.raises(ConnectionError, match=r"npm pack a@1 failed \(ENOTFOUND\)"):
        npm_pack("a@1", tmp_path / "data", console)
    fake_npm(tmp_path, "echo 'npm error code ENOSPC' >&2; exit 1", monkeypatch)
    with pytest.raises(OSError, match=r"no space left in .*data while fetching a@1"):
        npm_pack("a@1", tmp_path / "data", console)
    assert list((tmp_path / "data").iterdir()) == []
