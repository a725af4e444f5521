"""Downloads a published file: progress on the terminal, and its final name only after its checksum is verified."""

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from rich.console import Console
from rich.progress import wrap_file

from convert.sources.checksum import check_md5
from loaders.formats.atomic import file_errors
from loaders.formats.lock import lock_file

TIMEOUT_S = 5.0  # to connect, and for each silence afterwards; looking up the name has the limits of the system
_CHUNK_BYTES = 1 << 18


def download(url: str, path: Path, md5: str, console: Console, timeout_s: float = TIMEOUT_S) -> Path:
    """Download `url` to `path` and return `path`; whatever ends it early, Ctrl-C included, leaves nothing behind.

    Args:
        url: address of the file.
        path: where it appears, by atomic rename, once its checksum is verified; the folder is made when absent.
        md5: its published MD5.
        console: where progress is shown.
        timeout_s: seconds to connect, and for each silence afterwards.

    Raises:
        ConnectionError: the host cannot be reached, answers with an error, falls silent or hangs up; one sentence, so
            that the caller can try another place.
        ValueError: the file has another MD5.
        BlockingIOError: another process downloads the file.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(path):
        part = path.with_name(f"{path.name}.part")
        try:
            with _network_errors(url), urllib.request.urlopen(url, timeout=timeout_s) as response:
                num_bytes = int(response.headers.get("Content-Length", 0))
                with (
                    wrap_file(response, num_bytes, description=path.name, console=console) as reader,
                    open(part, "wb") as file,
                ):
                    while chunk := reader.read(_CHUNK_BYTES):
                        with file_errors(path, part):
                            file.write(chunk)
                            file.flush()
            got_bytes = part.stat().st_size
            if got_bytes < num_bytes:
                raise ConnectionError(f"{url} hangs up after {got_bytes:,} of {num_bytes:,} bytes: call again")
            check_md5(part, md5)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn each way in which a network fails into a ConnectionError with one sentence."""
    try:
        yield
    except HTTPError as error:
        error.close()
        raise ConnectionError(f"{url} answers {error.code} {error.reason}") from None
    except URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise ConnectionError(f"{url} cannot be reached ({reason})") from None
    except (TimeoutError, ConnectionError, ssl.SSLError, HTTPException) as error:
        raise ConnectionError(f"{url} falls silent or hangs up ({error or type(error).__name__}): call again") from None
