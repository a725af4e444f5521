"""Fetches a Debian package and unpacks it, for real images that are published there."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from loaders.formats.lock import lock_file
from loaders.formats.sentence import one_line

TIMEOUT_S = 1200.0
_PREFIX = ".debian-"


def debian_package(name: str, folder: Path, console: Console) -> Path:
    """Fetch a package into `folder` with `apt-get download`, which checks its signature; nothing is installed.

    Args:
        name: of the package.
        folder: where the archive appears, by atomic rename, under the name that the archive has; one that is there
            already is taken.
        console: where the wait is shown.

    Raises:
        ConnectionError: there is no `apt-get` on this machine, or it did not get the package.
        BlockingIOError: another process fetches a package into the folder.
        OSError: a file cannot be written.
    """
    for path in sorted(folder.glob(f"{name}_*.deb")):
        return path
    if shutil.which("apt-get") is None:
        raise ConnectionError(f"the package {name} needs the command apt-get, which this machine does not have")
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / "debian"), tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as temporary:
        with console.status(f"apt-get download {name}"):
            _run(["apt-get", "download", "-q", name], temporary, f"apt-get download {name} failed")
        packed = list(Path(temporary).glob("*.deb"))
        if len(packed) != 1:
            raise ConnectionError(f"apt-get download {name} left {len(packed)} archives")
        return packed[0].replace(folder / packed[0].name)


def unpack_debian(archive: Path, folder: Path) -> None:
    """Unpack the files of a package below `folder` with `dpkg-deb`; no script of the package is run.

    Raises:
        ConnectionError: it is damaged, or there is no `dpkg-deb`.
    """
    _run(["dpkg-deb", "-x", str(archive.resolve()), "."], str(folder), f"{archive} cannot be unpacked")


def _run(command: list[str], folder: str, failure: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ConnectionError(f"{failure}: {one_line(error)}") from None
    if done.returncode != 0:
        raise ConnectionError(f"{failure}: {one_line(done.stderr) or 'no reason given'}")
