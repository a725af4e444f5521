import hashlib
import http.server
import resource
import socket
import threading
import time

import pytest

import convert.sources.download as download_module
from convert.sources.download import download
from loaders.formats.lock import lock_file

CONTENT = bytes(range(256)) * 4000  # 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, or only the first `server.num_bytes` of it before hanging up."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: self.server.num_bytes])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.num_bytes = len(CONTENT)
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


def test_progress_is_shown(server, tmp_path, console):
    download(url_of(server), tmp_path / "file.bin", MD5, console)
    assert "file.bin" in console.file.getvalue()


def test_an_earlier_part_is_started_again(server, tmp_path, console):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 2_000_000)
    assert download(url_of(server), tmp_path / "file.bin", MD5, console).read_bytes() == CONTENT


def test_a_second_download_of_the_file_is_refused(server, tmp_path, console):
    with lock_file(tmp_path / "file.bin"), pytest.raises(BlockingIOError, match=r"file\.bin is in use by process"):
        download(url_of(server), tmp_path / "file.bin", MD5, console)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_bytes", [0, 100_000, len(CONTENT) - 1])
def test_a_server_that_hangs_up(server, tmp_path, console, num_bytes):
    server.num_bytes = num_bytes
    with pytest.raises(ConnectionError, match=f"file.bin hangs up after {num_bytes:,} of 1,024,000 bytes: call again"):
        download(url_of(server), tmp_path / "file.bin", MD5, console)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_silent(server, tmp_path, console, monkeypatch):
    def send_half(self, send=Handler.do_GET):
        send(self)
        released.wait(10)

    released = threading.Event()
    server.num_bytes = 500_000
    monkeypatch.setattr(Handler, "do_GET", send_half)
    with pytest.raises(ConnectionError, match=r"file\.bin falls silent or hangs up \(.*timed out.*\): call again"):
        download(url_of(server), tmp_path / "file.bin", MD5, console, timeout_s=0.2)
    released.set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stopped_half_way_leaves_nothing(server, tmp_path, console, monkeypatch, error):
    def stop(*arguments):
        raise error

    monkeypatch.setattr(download_module, "file_errors", stop)
    with pytest.raises((KeyboardInterrupt, OSError)):
        download(url_of(server), tmp_path / "file.bin", MD5, console)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_network_failure(server, tmp_path, console):
    """The caller must not try the next place on the same disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(OSError, match=r"file size limit reached while writing .*file\.bin") as caught:
            download(url_of(server), tmp_path / "file.bin", MD5, console)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(caught.value, ConnectionError)
    assert list(tmp_path.iterdir()) == []


def test_wrong_checksum_keeps_nothing(server, tmp_path, console):
    with pytest.raises(ValueError, match=f"wrong checksum: its MD5 is {MD5}, the published one is {'0' * 32}"):
        download(url_of(server), tmp_path / "file.bin", "0" * 32, console)
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path, console):
    with socket.socket() as unused:  # bound but not listening: connecting is refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin"
        with pytest.raises(ConnectionError, match=r"file\.bin cannot be reached \(.*refused"):
            download(url, tmp_path / "file.bin", MD5, console)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_host_is_given_up(tmp_path, console):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"file\.bin (cannot be reached|falls silent) .*timed out"):
            download(url, tmp_path / "file.bin", MD5, console, timeout_s=0.2)
        assert time.monotonic() - start < 5


def test_absent_on_the_server(server, tmp_path, console, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.send_error(404))
    with pytest.raises(ConnectionError, match=r"file\.bin answers 404 Not Found"):
        download(url_of(server), tmp_path / "file.bin", MD5, console)
