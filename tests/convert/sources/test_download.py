import hashlib
import http.server
import os
import socket
import stat
import threading
import time

import pytest

from convert.sources.download import download, npm_pack

CONTENT = bytes(range(256)) * 4000  # 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the server's `plan` says for each request how many bytes to send before hanging up."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        count = server.plan.pop(0) if server.plan else len(CONTENT)
        self.wfile.write(CONTENT[start : start + count])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.ranges, running.plan, running.knows_ranges = [], [], True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url_of(server):
    return f"http://127.0.0.1:{server.server_port}/file.bin"


def test_whole(server, tmp_path, console):
    path = download(url_of(server), tmp_path / "new" / "file.bin", MD5, console)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_an_earlier_part_is_resumed(server, tmp_path, console):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:400_000])
    assert download(url_of(server), tmp_path / "file.bin", MD5, console).read_bytes() == CONTENT
    assert server.ranges == ["bytes=400000-"]


def test_a_part_that_is_whole_needs_no_bytes(server, tmp_path, console):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert download(url_of(server), tmp_path / "file.bin", MD5, console).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_line_that_breaks_is_taken_up_again(server, tmp_path, console):
    server.plan = [100_000, 300_000]
    assert download(url_of(server), tmp_path / "file.bin", MD5, console).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=400000-"]


def test_a_line_that_stays_broken_keeps_the_part(server, tmp_path, console):
    server.plan = [100_000, 0]
    with pytest.raises(ConnectionError, match=r"falls silent after 100,000 bytes \(kept in .*part\): call again"):
        download(url_of(server), tmp_path / "file.bin", MD5, console)
    assert (tmp_path / "file.bin.part").stat().st_size == 100_000
    assert not (tmp_path / "file.bin").exists()


def test_a_server_without_ranges_starts_again(server, tmp_path, console):
    server.knows_ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    assert download(url_of(server), tmp_path / "file.bin", MD5, console).read_bytes() == CONTENT


def test_wrong_checksum_keeps_nothing(server, tmp_path, console):
    with pytest.raises(ValueError, match=f"wrong checksum: md5 {MD5}, published is {'0' * 32}"):
        download(url_of(server), tmp_path / "file.bin", "0" * 32, console)
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path, console):
    with socket.socket() as unused:  # bound but not listening: connecting is refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin"
        with pytest.raises(ConnectionError, match=r"file\.bin cannot be reached within 5 s \(.*refused"):
            download(url, tmp_path / "file.bin", MD5, console)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_host_is_given_up(tmp_path, console):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"cannot be reached within 0\.2 s"):
            download(url, tmp_path / "file.bin", MD5, console, timeout_s=0.2)
        assert time.monotonic() - start < 5


def test_absent_on_the_server(server, tmp_path, console, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.send_error(404))
    with pytest.raises(ConnectionError, match=r"file\.bin answers 404 Not Found"):
        download(url_of(server), tmp_path / "file.bin", MD5, console)


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
