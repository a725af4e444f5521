"""How far a study is: tables of its cells, and how far those are that are being run."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev

from rich.table import Table

from training.compare.outcome import Outcome
from training.compare.store import DONE, RUNNING, Store
from training.report.folder import read_rows


def progress_tables(store: Store, outcomes: list[Outcome]) -> Iterator[Table]:
    """For each variant the accuracy in per cent (mean, standard deviation) and the runs that are done, by budget."""
    study = store.study
    for variant in dict.fromkeys(cell.variant for cell in study.cells):
        cells = [cell for cell in study.cells if cell.variant == variant]
        budgets = sorted({cell.config.budget for cell in cells})
        table = Table(title=f"{study.name}, {variant}" if variant else study.name)
        for name in ("augmentation", "method", *(f"{budget:g}" for budget in budgets)):
            table.add_column(name, no_wrap=True)
        for row in dict.fromkeys((cell.variant, cell.augmentation, cell.method) for cell in cells):
            table.add_row(*row[1:], *(_entry(store, outcomes, row, budget) for budget in budgets))
        yield table


def progress_line(store: Store) -> str:
    """How many runs are done, and how many are being made."""
    counts = store.counts()
    return f"{counts[DONE]} of {len(store.study.cells)} runs are done, {counts[RUNNING]} are being made"


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
