"""Let one process at a time write to a folder or a file."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FILE = ".lock"

_TRIES = 100  # of making a folder that others remove, before it counts as one that cannot be made
_MAX_BYTES = 4096  # of what a lock file says
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # by the file system


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Hold `folder/.lock` while the block runs. A missing folder is made, with those above it, and
    removed again if it stays empty.

    The kernel's lock on that file (flock) decides. It ends with its process, even one that is killed, and network file
    systems share it between machines, or most do. The file also says which process on which machine holds it. A file
    that a killed process of this machine has left is taken over. One of another machine is not, since nothing here
    tells whether its process still works.

    Raises:
        BlockingIOError: another process holds it; the sentence says which one and what to do.
        OSError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    new = [missing for missing in (folder, *folder.parents) if not missing.exists()]
    try:
        with _lock(folder / FILE, folder):
            yield
    finally:
        with suppress(OSError):  # it holds something
            for missing in new:
                missing.rmdir()


@contextmanager
def lock_file(path: str | Path) -> Iterator[None]:
    """Hold `.NAME.lock` beside a file while the block runs; else as `lock_folder`."""
    path = Path(path)
    with _lock(path.with_name(f".{path.name}{FILE}"), path):
        yield


@contextmanager
def _lock(path: Path, target: Path) -> Iterator[None]:
    descriptor = _take(path, target)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
        yield
    finally:
        if _is_at(descriptor, path):
            path.unlink()  # while it is held, so that nobody else's goes
        os.close(descriptor)


def _take(path: Path, target: Path) -> int:
    """A descriptor of the lock file, held."""
    missed = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            missed += 1
            if isinstance(error, FileNotFoundError | FileExistsError) and missed < _TRIES:
                continue  # the owner before has removed the empty folder just now, as it was looked at
            sentence = f"cannot make the folder {path.parent} or write to it ({error.strerror}): choose another one"
            raise OSError(error.errno, sentence) from None
        try:
            _check_free(descriptor, path, target)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the owner before has removed this file while it was opened here: make another one


def _check_free(descriptor: int, path: Path, target: Path) -> None:
    """Take the kernel's lock, and judge what the file says of its owner.

    Raises:
        BlockingIOError: it is held.
    """
    is_shared = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(_owner(descriptor), target) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        is_shared = False
    owner, mine = _owner(descriptor), _this_process()
    if owner is None:
        return
    if mine["boot"] != owner["boot"] and mine["host"] != owner["host"]:
        raise _in_use(owner, target, f"; if it no longer works there, delete {path}")
    if not is_shared and mine["boot"] == owner["boot"] and _is_running(owner["pid"]):
        raise _in_use(owner, target, f"; if that is another program by now, delete {path}")


def _in_use(owner: dict[str, Any] | None, target: Path, remedy: str = "") -> BlockingIOError:
    who = "another process"
    if owner is not None:
        who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    sentence = f"{target} is in use by {who}: wait until it ends, stop it, or choose another place{remedy}"
    return BlockingIOError(errno.EWOULDBLOCK, sentence)


def _this_process() -> dict[str, Any]:
    try:  # one number for all containers of a machine, another one after each start of it
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = socket.gethostname()
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot": boot, "since": now}


def _owner(descriptor: int) -> dict[str, Any] | None:
    """Who holds or held the lock, or None where the file does not say it."""
    try:
        owner = json.loads(os.pread(descriptor, _MAX_BYTES, 0))
        pid, texts = owner["pid"], [owner[key] for key in ("host", "boot", "since")]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_whole = isinstance(pid, int) and 0 < pid < 1 << 31
    return owner if is_whole and all(isinstance(text, str) and text.isprintable() for text in texts) else None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
