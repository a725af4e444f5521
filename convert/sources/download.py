"""Gets published archives: from the official address, with progress and resume, or from a lossless npm package.

Knows networks; must not know what is inside a file, beyond its MD5. Every failure to reach something is a
ConnectionError with one sentence, so that the caller can try the next place.
"""

import errno
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from convert.sources.archives import check_md5

TIMEOUT_S = 5.0  # to find the host, connect and get the answer's head; later, for each silence
NPM_TIMEOUT_S = 1200.0
_CHUNK_BYTES = 1 << 18


def download(url: str, path: Path, md5: str, console: Console, timeout_s: float = TIMEOUT_S) -> Path:
    """Download `url` to `path`, verified; an interrupted call leaves `path`.part, from which the next one goes on.

    Raises:
        ConnectionError: the host cannot be reached or falls silent; what has arrived is kept for the next call.
        ValueError: the whole file has another MD5; nothing of it is kept.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    before = -1
    while True:  # goes on by itself as long as each try brings something
        start = part.stat().st_size if part.exists() else 0
        if start == before:
            raise ConnectionError(f"{url} falls silent after {start:,} bytes (kept in {part}): call again to go on")
        try:
            if _fetch(url, part, start, console, timeout_s):
                break
        except (TimeoutError, HTTPException, ConnectionResetError, ConnectionAbortedError, ssl.SSLError):
            pass
        before = start
    try:
        check_md5(part, md5)
    except ValueError:
        part.unlink()
        raise
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path, start: int, console: Console, timeout_s: float) -> bool:
    """Append to `part` what follows its first `start` bytes; True when the whole file is there."""
    response = _open(url, start, timeout_s)
    if response is None:  # nothing follows: the part is whole
        return True
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with response, Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        start = start if response.status == 206 else 0  # a server without ranges sends everything again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        task = progress.add_task(part.name.removesuffix(".part"), total=total, completed=start)
        with open(part, "ab" if start else "wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))
    return total is None or part.stat().st_size >= total


def _open(url: str, start: int, timeout_s: float) -> HTTPResponse | None:
    """The answer to a GET from byte `start` on, or None when there are no more bytes.

    It runs in a thread of its own because looking up a host's name has no time limit.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    outcome: list = []

    def ask():
        try:
            outcome.append(urllib.request.urlopen(request, timeout=timeout_s))
        except (OSError, HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s + 1.0)
    answer = outcome[0] if outcome else TimeoutError("no answer")
    if isinstance(answer, urllib.error.HTTPError):
        answer.close()
        if answer.code == 416 and start:
            return None
        raise ConnectionError(f"{url} answers {answer.code} {answer.reason}")
    if isinstance(answer, Exception):
        reason = getattr(answer, "reason", answer)
        raise ConnectionError(f"{url} cannot be reached within {timeout_s:g} s ({reason})")
    return answer


def npm_pack(package: str, folder: Path, console: Console) -> Path:
    """Fetch the archive of an npm package (`name@version`) into `folder` through `npm pack`; runs nothing of it.

    Raises:
        ConnectionError: there is no `npm` on this machine, or it did not get the package.
        OSError: no space left.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ConnectionError(f"the npm package {package} needs the command npm, which is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".npm-") as temporary:
        try:
            with console.status(f"npm pack {package}"):
                result = subprocess.run(
                    [npm, "pack", package, *options],
                    cwd=temporary,  # where it leaves the archive, and away from the settings of any project
                    capture_output=True,
                    text=True,
                    timeout=NPM_TIMEOUT_S,
                )
        except subprocess.TimeoutExpired:
            raise ConnectionError(f"npm pack {package} took more than {NPM_TIMEOUT_S:g} s") from None
        packed = list(Path(temporary).glob("*.tgz"))
        if "ENOSPC" in result.stderr:
            raise OSError(errno.ENOSPC, f"no space left in {folder} while fetching {package}: free some, call again")
        if result.returncode != 0 or len(packed) != 1:
            code = next(
                (line.split()[-1] for line in result.stderr.splitlines() if " code " in line), "no reason given"
            )
            raise ConnectionError(f"npm pack {package} failed ({code})")
        path = folder / packed[0].name
        os.replace(packed[0], path)
    return path
