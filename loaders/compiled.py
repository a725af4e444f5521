"""Compile kernels with Numba, and keep them on disk for the next process, wherever that can be written.

Numba caches compiled kernels beside the sources or in the user's home. It fails where neither can be written to, as for
a container's user without a home, and at every start once a cached file is damaged. Here the cache then lies in a
folder below the system's temporary folder, and a damaged file is compiled again.
"""

import functools
import os
import stat
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config
from numba.core.caching import FunctionCache, NullCache

_WARNING = 2  # stack level of a warning: whoever asked


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As `numba.njit(cache=True, **options)`, but no folder that cannot be written and no damaged file is an error.

    The folder is that of NUMBA_CACHE_DIR if it is set, else the first of these that can be written to: beside the
    sources, in the user's cache folder, among the temporary files.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:  # pyright: ignore[reportAttributeAccessIssue]
            return _Refusing(function)
        kernel = njit(**options)(function)
        kernel._cache = _cache_of(function)
        return kernel

    return decorate


@dataclass(frozen=True)
class _Refusing:
    """Replaces a kernel where Numba is disabled; a call fails, since integers of plain Python do not wrap around."""

    py_func: Callable[..., Any]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raise ImportError(
            "NUMBA_DISABLE_JIT is set, and Rebar's kernels must be compiled (plain Python rounds and overflows in "
            "other ways): unset it"
        )


class _Cache(FunctionCache):
    """Numba's cache of one function, in which no failure to read or to write is an error."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # noqa: BLE001 (a damaged pickle may fail in any way)
            _say_once(f"compiled kernels in {self.cache_path} cannot be read ({type(error).__name__}): compiling anew")
            self._keep(self.flush)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        self._keep(super().save_overload, sig, data)

    def _keep(self, write: Callable[..., None], *arguments: Any) -> None:
        try:
            write(*arguments)
        except Exception as error:  # noqa: BLE001 (a full disk, or again a damaged file)
            _say_once(f"compiled kernels cannot be kept in {self.cache_path} ({error}): each process compiles them")


def _cache_of(function: Callable[..., Any]) -> FunctionCache | NullCache:
    try:
        return _Cache(function)
    except RuntimeError:  # Numba has found no folder that can be written to
        config.CACHE_DIR = _temporary_folder()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return _Cache(function)
    except RuntimeError:
        return NullCache()


@functools.cache
def _temporary_folder() -> str:
    """A folder among the temporary files that nobody else can have written to; "" where there is none.

    What it holds is run, hence the checks of its owner and mode.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"rebar-numba-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            _say_once(
                f"compiled kernels are kept in {folder}: neither beside the sources nor in a home folder can be "
                "written; NUMBA_CACHE_DIR names another folder"
            )
            return str(folder)
        reason = f"{folder} belongs to another user"
    except OSError as error:
        reason = str(error)
    _say_once(
        f"compiled kernels cannot be kept ({reason}): each process compiles them; set NUMBA_CACHE_DIR to a folder"
    )
    return ""


@functools.cache
def _say_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=_WARNING)
