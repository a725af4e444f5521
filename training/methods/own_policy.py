"""A policy of your own: `--method FILE.py:FUNCTION`."""

import importlib.util
import traceback
from pathlib import Path
from typing import Any

from loaders.formats.sentence import one_line
from loaders.order.policies import Policy
from loaders.types import Snapshot
from training.methods.base import Context
from training.methods.latest_score import SmoothedOptions, Weighted


class OwnPolicy(Weighted):
    """Weight by a function of your own: a `loaders.Snapshot` in, one weight per sample out."""

    def __init__(self, options: SmoothedOptions, context: Context):
        self.policy = load_policy(context.config.method)
        super().__init__(options, context)


def is_own_policy(method: str) -> bool:
    """Whether a method is FILE.py:FUNCTION, for which that file is run."""
    return ":" in method


def load_policy(method: str) -> Policy:
    """The function that `FILE.py:FUNCTION` names; the file is run to find it.

    Raises:
        ValueError: no such file or function, or the file or later the function fails; says in which line.
    """
    file, _, name = method.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"method {method}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"method {method}: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _in_words(method, file, error) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"method {method}: {file} has no function {name!r}")

    def policy(snapshot: Snapshot) -> Any:
        try:
            return function(snapshot)
        except Exception as error:
            raise _in_words(method, file, error) from error

    return policy


def _in_words(method: str, file: str, error: Exception) -> ValueError:
    """Where in the file an error of it arose, and which."""
    if isinstance(error, SyntaxError):
        return ValueError(f"method {method}: {file}, line {error.lineno}: {error.msg}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"{file}, line {lines[-1]}" if lines else file
    return ValueError(f"method {method}: {where}: {type(error).__name__}: {one_line(error)}")
