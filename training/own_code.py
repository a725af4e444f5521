"""Functions of your own, `FILE.py:FUNCTION`, named on the command line: no file of settings may name what runs."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loaders.formats.sentence import one_line


def is_own(name: str) -> bool:
    """Whether a method or model is FILE.py:FUNCTION, for which that file is run."""
    return ":" in name


def file_digest(name: str) -> str:
    """SHA-256 of the file of `FILE.py:FUNCTION`, 16 hexadecimal digits: what it imports does not count."""
    return hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()[:16]


def load_function(name: str, setting: str) -> Callable[..., Any]:
    """The function that `FILE.py:FUNCTION` names; the file is run to find it, and may import what lies beside it.

    Args:
        setting: what the function is given as, "method" or "model", for its errors.

    Raises:
        ValueError: no such file or function, or the file or later the function fails; says in which line.
    """
    file, _, function_name = name.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"{setting} {name}: there is no file {file}")
    module_name = f"rebar_own_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{setting} {name}: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(file).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise in_words(name, setting, error) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"{setting} {name}: {file} has no function {function_name!r}")

    @functools.wraps(function)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except Exception as error:
            raise in_words(name, setting, error) from error

    return told


def in_words(name: str, setting: str, error: Exception) -> ValueError:
    """Where in the file of `FILE.py:FUNCTION` an error of it arose, and which."""
    file = name.rpartition(":")[0]
    if isinstance(error, SyntaxError):
        return ValueError(f"{setting} {name}: {file}, line {error.lineno}: {error.msg}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"{file}, line {lines[-1]}" if lines else file
    return ValueError(f"{setting} {name}: {where}: {type(error).__name__}: {one_line(error, 500)}")
