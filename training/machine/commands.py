"""Shell commands for messages that tell the user what to run."""

import shlex
import shutil
import sys
from pathlib import Path

_MODULES = {"train": "training.run"}  # of the others: training.NAME


def command(program: str, *words: str) -> str:
    """The shell command of one of Rebar's programs, in the way in which this process was started.

    Args:
        program: "train", "compare", "coreset", ... or "convert NAME".
        words: its arguments, which are quoted where the shell needs it.
    """
    name, _, rest = program.partition(" ")
    started_by = Path(sys.argv[0])
    if started_by.name.startswith("rebar-"):
        script = started_by.with_name(f"rebar-{name}")
        start = [_by_name(script), *([rest] if rest else [])]
    elif rest:
        start = [_by_name(Path(sys.executable), "python"), f"{name}/{rest}.py"]
    else:
        start = [_by_name(Path(sys.executable), "python"), "-m", _MODULES.get(name, f"training.{name}")]
    return shlex.join([*start, *words])


def _by_name(path: Path, name: str | None = None) -> str:
    """A program's bare name where the shell finds the program by it, else its path."""
    name = name or path.name
    found = shutil.which(name)
    if found and Path(found).parent == path.parent:
        return name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
