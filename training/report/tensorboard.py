"""TensorBoard event files, on request."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.report.numbers import scalars

WriteEvents = Callable[[dict[str, Any]], None]


def require_tensorboard() -> None:
    """Check that TensorBoard is installed, before a run is set up.

    Raises:
        ImportError: the package is missing.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "--tensorboard needs the package tensorboard, which is not installed: "
            "pip install tensorboard, or leave --tensorboard out"
        )


@contextmanager
def event_writer(folder: Path, num_epochs: int) -> Iterator[WriteEvents]:
    """Yield a function that adds the numbers of one row of metrics.jsonl to the folder's event file.

    Args:
        num_epochs: epochs done already; later events, left by a run that was killed, are discarded.
    """
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder, purge_step=num_epochs + 1) as writer:

        def write(row: dict[str, Any]) -> None:
            for name, value in scalars(row).items():
                writer.add_scalar(name, value, row["epoch"])
            writer.flush()

        yield write
