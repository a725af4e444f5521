"""The terminal output of a run: progress bar, a line for each epoch, final table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from loaders.formats.json_file import typed
from training.budget import Budget
from training.ledger import Ledger
from training.report.numbers import tested_split

Work = Callable[[float], float]


class Meter:
    """Budget spent and time left: a bar on a terminal, and one plain line per epoch in any case."""

    def __init__(self, console: Console, budget: Budget, ledger: Ledger, work: Work, progress: Progress):
        self._console, self._progress = console, progress
        self._budget, self._ledger, self._work = budget, ledger, work
        self._task = progress.add_task("training", total=1.0)

    def advance(self) -> None:
        """One step more."""
        self._progress.update(self._task, completed=self._work(self._budget.progress(self._ledger)))

    def epoch(self, row: dict[str, Any]) -> None:
        """One line for a finished epoch, from its row of metrics.jsonl."""
        split = tested_split(row)
        tested = row[f"{split}_accuracy"]
        accuracy = "" if tested is None else f"  {split} {100 * tested:5.2f} %"
        loss = "no step" if row["train_loss"] is None else f"loss {row['train_loss']:.4f}"
        left, epoch, step = "", f"{row['epoch']}", f"{row['step']:,}"
        budget = self._budget
        done = self._work(budget.progress(self._ledger))
        if done and not budget.is_spent(self._ledger):
            left = f"  left {clock((row['train_seconds'] - row['coreset_seconds']) / done * (1 - done))}"
        if budget.total_steps is not None:
            step = f"{step}/{budget.total_steps:,}"
        if budget.num_epochs is not None:
            epochs = str(budget.num_epochs)
            epoch = f"{epoch:>{len(epochs)}}/{epochs}"
        self._console.print(
            f"epoch {epoch}  step {step}  samples {row['samples']:,}  {loss}{accuracy}  "
            f"trained {clock(row['train_seconds'])}{left}",
            soft_wrap=True,
            highlight=False,
        )


@contextmanager
def meter(console: Console, budget: Budget, ledger: Ledger, work: Work) -> Iterator[Meter]:
    """A `Meter` whose bar, shown on a terminal only, disappears when the block ends.

    Args:
        work: fraction of the run's work that is done at a progress.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    is_shown = console.is_terminal and not console.quiet
    bar = Progress(*columns, *times, console=console, refresh_per_second=4, transient=True, disable=not is_shown)
    with bar as progress:
        yield Meter(console, budget, ledger, work, progress)


def print_summary(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """The final table, from summary.json, and where the files are."""
    spread, split = summary["visits"], tested_split(summary)
    within = _fraction(summary, "scoring")
    within = "" if within == "0.0 %" else f", {within} choosing within batches"
    rows = [
        ("method", typed(summary["method"], str, "method")),
        ("budget", f"{summary['budget_text']} ({summary['num_samples']:,} samples)"),
        ("samples", f"{summary['samples']:,}"),
        ("distinct samples", f"{summary['distinct_samples']:,}"),
        *([("left out", f"{100 * summary['saved_fraction']:.1f} % of whole epochs")]
          if "saved_fraction" in summary else []),
        ("steps", f"{summary['steps']:,}"),
        ("passes", f"{summary['forward_samples']:,} samples forward, {summary['backward_samples']:,} backward"),
        ("compute", f"{summary['flops'] / 1e12:,.2f} TFLOP"),
        ("training time", f"{summary['train_seconds']:,.1f} s, {_fraction(summary, 'data')} waiting for data, "
                          f"{_fraction(summary, 'plan')} choosing samples"
                          f"{within}"),
        *([("core-set", coreset_text(summary["coreset"]) + ", counted above")] if "coreset" in summary else []),
        ("images/s", f"{summary['images_per_second']:,.0f}"),
        ("visits", f"entropy {spread['entropy']:.4f}, cv {spread['cv']:.3f}, "
                   f"from {spread['min']:g} to {spread['max']:g}"),
        (f"{split} accuracy", f"{100 * summary[f'{split}_accuracy']:.2f} % (last epoch)"),
    ]  # fmt: skip
    if summary[f"{split}_accuracy_tta"] is not None:
        rows.append(("with test-time augmentation", f"{100 * summary[f'{split}_accuracy_tta']:.2f} %"))
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, highlight=False)
    if summary["did_not_choose"]:
        console.print(f"warning: {summary['did_not_choose']}", highlight=False, soft_wrap=True)
    console.print(f"results in {folder}: summary.json, metrics.jsonl, curve.png", highlight=False, soft_wrap=True)


def coreset_text(coreset: dict[str, Any]) -> str:
    """A core-set, from its entry in summary.json, and what it cost."""
    return (
        f"{coreset['num_ids']:,} samples by {coreset['method']} ({coreset['file']}); choosing them took "
        f"{coreset['flops'] / 1e12:,.2f} TFLOP and {coreset['seconds']:,.1f} s"
    )


def clock(seconds: float) -> str:
    """1:02:03, 2:03 or 0:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _fraction(summary: dict[str, Any], name: str) -> str:
    return f"{100 * summary[f'{name}_seconds'] / max(summary['train_seconds'], 1e-9):.1f} %"
