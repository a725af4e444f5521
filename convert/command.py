"""How the command lines of `convert` begin and end: options from a typed function, one clear sentence on failure.

Exit status: 0 done (or already there), 1 failed with a sentence on stderr, 2 wrong options, 3 the data can be had from
nowhere (no copy, no network), 130 stopped by Ctrl-C.
"""

import sys
from collections.abc import Callable

NOWHERE = 3


def run_command(function: Callable[..., None]) -> None:
    """Call `function` with options parsed from `sys.argv`, then exit with the status that tells how it went."""
    from jsonargparse import auto_cli

    try:
        auto_cli(function, args=[_underscored(word) for word in sys.argv[1:]], as_positional=False)
    except KeyboardInterrupt:
        sys.exit(_say("stopped; what was finished stays, nothing half written was kept: call again to go on", 130))
    except ConnectionError as error:
        sys.exit(_say(error, NOWHERE))
    except (ValueError, OSError, ImportError) as error:
        # An OSError of ours carries its sentence in `strerror`; one of the system's needs its file name too.
        ours = isinstance(error, OSError) and error.strerror and error.filename is None
        sys.exit(_say(error.strerror if ours else error, 1))


def _underscored(word: str) -> str:
    """`--num-train=5` as `--num_train=5`: both spellings of an option are understood."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else word


def _say(message: object, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
