"""How far a study is: a table of its cells, and how far those are that are being run."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev

from rich.table import Table

from training.compare.outcome import Outcome
from training.compare.store import DONE, RUNNING, Store
from training.report.folder import read_rows


def progress_table(store: Store, outcomes: list[Outcome]) -> Table:
    """Accuracy in per cent (mean, standard deviation), and how many of the planned runs are done, a column a budget."""
    cells, study = store.study.cells, store.study
    budgets = sorted({cell.config.budget for cell in cells})
    counts = store.counts()
    caption = f"{counts[DONE]} of {len(cells)} runs are done, {counts[RUNNING]} are being made"
    table = Table(title=study.name, caption=caption)
    for name in ("variant", "augmentation", "method"):
        table.add_column(name)
    for budget in budgets:
        table.add_column(f"{budget:g}", justify="right", no_wrap=True)
    rows = dict.fromkeys((cell.variant, cell.augmentation, cell.method) for cell in cells)
    for row in rows:
        table.add_row(*row, *(_entry(store, outcomes, row, budget) for budget in budgets))
    return table


def running_lines(store: Store) -> Iterator[str]:
    """A line for each cell that a worker holds: what it is, and its epochs so far."""
    for cell in store.study.cells:
        if store.state(cell) == RUNNING:
            yield f"running: {cell.text}: {len(read_rows(store.run_folder(cell))):,} of {cell.config.epochs:,} epochs"


def _entry(store: Store, outcomes: list[Outcome], row: tuple[str, str, str], budget: float) -> str:
    planned = sum(
        (cell.variant, cell.augmentation, cell.method, cell.config.budget) == (*row, budget)
        for cell in store.study.cells
    )
    found = [one for one in outcomes if (one.variant, one.augmentation, one.method, one.budget) == (*row, budget)]
    if not planned:
        return ""
    values = [100 * one.accuracy for one in found if one.accuracy is not None]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    failed = f" {len(found) - len(values)} failed" if len(found) > len(values) else ""
    return f"{f'{fmean(values):.2f}{spread}' if values else '-'} {len(found)}/{planned}{failed}"
