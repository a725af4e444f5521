"""How a command ends: its exit status, and one sentence where it fails."""

import sys
from collections.abc import Callable

from loaders.formats.sentence import one_line, words_of
from training.machine.distributed import OtherRankFailed
from training.machine.signals import Stopped

MAX_SENTENCE = 4000  # characters of what a command says when it fails


def exit_status(work: Callable[[], int | None]) -> int:
    """Do the work of a command; a mistake in its input becomes one sentence on stderr.

    Returns:
        what `work` returns, 0 for None; 2 a mistake in the input; 130 stopped by Ctrl-C, 143 by SIGTERM; 1 another rank
        failed, which has said why.
    """
    try:
        return work() or 0
    except Stopped as stopped:
        return 128 + stopped.signal
    except KeyboardInterrupt:
        return 130
    except OtherRankFailed:
        return 1
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2


def sentence(error: Exception) -> str:
    """An error in words, on one line."""
    return one_line(words_of(error), MAX_SENTENCE)
