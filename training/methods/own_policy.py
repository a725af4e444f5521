"""A policy of your own: `--method FILE.py:FUNCTION`."""

import importlib.util
from pathlib import Path

from loaders.order.policies import Policy
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
        ValueError: no such file or function.
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
    except SyntaxError as error:
        raise ValueError(f"method {method}: {file}, line {error.lineno}: {error.msg}") from None
    if not callable(getattr(module, name, None)):
        raise ValueError(f"method {method}: {file} has no function {name!r}")
    return getattr(module, name)
