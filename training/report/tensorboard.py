"""TensorBoard event files, on request. Knows the optional package; knows nothing of training."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def require_tensorboard() -> None:
    """Refuse early.

    Raises:
        ImportError: the package is missing.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "--tensorboard needs the package tensorboard, which is not installed: "
            "pip install 'rebar-loaders[tensorboard]', or leave --tensorboard out"
        )


@contextmanager
def event_writer(folder: Path | None, num_epochs: int) -> Iterator[Callable[[dict], None]]:
    """Yield a function that adds the numbers of one row of metrics.jsonl to the folder's event file.

    Args:
        folder: None writes nothing.
        num_epochs: epochs done already; events behind them, of a run that was killed, no longer count.
    """
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder, purge_step=num_epochs + 1) as writer:

        def write(row: dict) -> None:
            for name, value in row.items():
                if isinstance(value, dict):
                    for part, number in value.items():
                        writer.add_scalar(f"{name}/{part}", number, row["epoch"])
                elif name != "epoch" and value is not None:
                    writer.add_scalar(name, value, row["epoch"])
            writer.flush()

        yield write
