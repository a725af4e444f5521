"""One owner at a time, whatever becomes of the one before."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loaders.formats import lock
from loaders.formats.lock import lock_file, lock_folder

HOLD = """
import sys, time
from loaders.formats.lock import lock_folder
with lock_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys
from pathlib import Path
from loaders.formats.lock import lock_folder
folder, done = Path(sys.argv[1]), 0
while done < 50:
    try:
        with lock_folder(folder / "run"):
            number = int((folder / "count").read_text())
            (folder / "count").write_text(str(number + 1))
            done += 1
    except BlockingIOError:
        pass
"""


def start(code: str, folder: Path) -> subprocess.Popen:
    command, root = [sys.executable, "-c", code, str(folder)], Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def record(**changes) -> str:
    return json.dumps({**lock._this_process(), **changes})


def test_a_second_owner_is_told_who_holds_it(tmp_path):
    with lock_folder(tmp_path):
        said = json.loads((tmp_path / ".lock").read_text())
        assert said["pid"] == os.getpid()
        with pytest.raises(BlockingIOError, match="is in use by process") as caught, lock_folder(tmp_path):
            pass
        assert f"{tmp_path} is in use by process {os.getpid()} on {said['host']} since" in caught.value.strerror
        assert caught.value.strerror.endswith(": wait until it ends, stop it, or choose another place")
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    with lock_folder(tmp_path):
        pass


def test_a_file_has_a_lock_of_its_own(tmp_path):
    with lock_file(tmp_path / "a"), lock_file(tmp_path / "b"), lock_folder(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".a.lock", ".b.lock", ".lock"}
        with pytest.raises(BlockingIOError, match="/a is in use by"), lock_file(tmp_path / "a"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_releases_it(tmp_path):
    with pytest.raises(KeyboardInterrupt), lock_folder(tmp_path / "new" / "run"):
        raise KeyboardInterrupt
    assert not (tmp_path / "new" / "run").exists()
    with lock_folder(tmp_path / "run"):
        (tmp_path / "run" / "result").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result"]


def test_a_killed_owner_is_followed(tmp_path):
    with start(HOLD, tmp_path) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=f"process {process.pid} on"), lock_folder(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / ".lock").exists()
    with lock_folder(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_many_at_once_come_one_after_the_other(tmp_path):
    (tmp_path / "count").write_text("0")
    processes = [start(COUNT, tmp_path) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"
    assert not list(tmp_path.glob("run/*"))


def test_what_another_machine_left_stays(tmp_path):
    """Its process may still work there: file systems exist that do not share locks."""
    (tmp_path / ".lock").write_text(record(boot="b", host="elsewhere"))
    for _ in range(2):
        with pytest.raises(BlockingIOError, match="on elsewhere since") as caught, lock_folder(tmp_path):
            pass
        assert str(caught.value.strerror).endswith(f"; if it no longer works there, delete {tmp_path / '.lock'}")
    (tmp_path / ".lock").write_text(record(boot="before the machine started anew"))
    with lock_folder(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "[" * 4000, None])
def test_a_file_that_names_no_owner_is_taken_over(tmp_path, text):
    (tmp_path / ".lock").write_text(record(pid=-1, host="elsewhere", boot="b") if text is None else text)
    with lock_folder(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_folder(tmp_path), pytest.raises(BlockingIOError, match="is in use"), lock_folder(tmp_path):
        pass
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / ".lock").write_text(record(pid=gone.pid))
    with lock_folder(tmp_path):
        pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"cannot make the folder .* or write to it"), lock_folder(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
    with pytest.raises(OSError, match="cannot make the folder"), lock_folder(tmp_path / "precious" / "run"):
        pass


def test_a_folder_that_can_never_be_made_is_no_endless_loop():
    """Where it vanishes each time, as in a deleted folder, an owner who removes it cannot be the reason."""
    with pytest.raises(OSError, match="cannot make the folder /proc/x or write to it"), lock_folder("/proc/x"):
        pass
