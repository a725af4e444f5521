"""Reports on a run: on the terminal, in its folder, and to TensorBoard or a tracker on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from training.budget import budget_text
from training.evaluate.accuracy import Result, test
from training.report import folder as files
from training.report import history
from training.report.numbers import epoch_row, run_summary
from training.report.plot import draw_curve
from training.report.tensorboard import WriteEvents, event_writer
from training.report.terminal import Meter, meter
from training.report.tracker import tracking
from training.state import Run


class Report:
    """Writes the progress of a run. All ranks have one; only rank 0's writes.

    Attributes:
        folder: of the run's results.
    """

    def __init__(self, folder: Path, bar: Meter, writers: list[WriteEvents], visits_N: np.ndarray):
        self.folder, self._bar, self._writers = folder, bar, writers
        self._visits_N = visits_N  # before the running epoch

    def batch(self, run: Run) -> None:
        """A batch is done."""
        self._bar.advance()

    def history(self, run: Run) -> None:
        """The scores of an epoch are known: its row of history.u8 is written.

        Before the epoch is tested, since a signal may stop the test: the checkpoint then holds these scores, and
        nothing in it tells which of them are of this epoch. The resumed run keeps the row.
        """
        assert run.scores is not None, "the epoch has ended"
        visits_N = run.scores.visits
        visited_N = visits_N > self._visits_N
        is_kept = run.trained > 0 and not visited_N.any()
        with run.ranks.together():
            if run.ranks.is_writer and not is_kept:
                history.write_epoch(self.folder, run.epoch, run.scores.error, visited_N)
        self._visits_N = visits_N

    def epoch(self, run: Run, tested: Result | None) -> None:
        """An epoch is done, and perhaps tested."""
        with run.ranks.together():
            row = epoch_row(run, tested)
            if run.ranks.is_writer:
                files.append_row(self.folder, row)
        self._bar.epoch(row)
        for write in self._writers:
            write(row)


@contextmanager
def reporting(run: Run, folder: Path, console: Console) -> Iterator[Report]:
    """A `Report` whose progress bar, event file and tracker are closed when the block ends."""
    config, writers = run.config, []
    with ExitStack() as open_writers, meter(console, run.budget, run.ledger, run.work) as bar:
        with run.ranks.together():
            if run.ranks.is_writer and config.tensorboard:
                writers.append(open_writers.enter_context(event_writer(folder, run.epoch)))
            if run.ranks.is_writer and config.tracker != "none":
                writers.append(open_writers.enter_context(tracking(config.tracker, folder, config.as_dict())))
        yield Report(folder, bar, writers, run.table.visits.cpu().numpy())


def finish(run: Run, folder: Path) -> dict[str, Any]:
    """Write curve.png and summary.json of a run whose last epoch is done; tests it where its last row is missing.

    All ranks call it together.

    Returns:
        what summary.json holds.
    """
    ranks = run.ranks
    rows: list[dict[str, Any]] = []
    with ranks.together():
        if ranks.is_writer:
            rows = files.read_rows(folder)
            files.check_rows(folder, rows, run.data.tested_split)
    rows = json.loads(ranks.broadcast(json.dumps(rows).encode()))
    if rows and rows[-1]["epoch"] == run.epoch:
        last, split = rows[-1], run.data.tested_split
        run.train_loss = last["train_loss"]
        tested = Result(*(last[f"{split}_{name}"] for name in ("accuracy", "loss", "accuracy_tta")))
    else:
        tested = test(run, run.config.tta)
    summary = run_summary(run, folder, rows, tested)
    with ranks.together():
        if ranks.is_writer:
            title = f"{run.data.manifest.name}, {run.config.method}, {budget_text(run.config)}"
            draw_curve(folder / files.CURVE, rows, title, summary["did_not_choose"])
            files.write_summary(folder, summary)
    return summary
