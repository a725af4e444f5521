"""Writes the report of a study: the page, the tables and the figures."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from training.compare.answer.arms import MAIN
from training.compare.answer.claims import in_order, judge
from training.compare.answer.facts import StudyFacts
from training.compare.outcome import Outcome
from training.compare.report import plots
from training.compare.report.figures import accuracy_panels, panel_of
from training.compare.report.ledger import tested_accuracy
from training.compare.report.page import Shown, write_page
from training.compare.report.panel import write_png
from training.compare.report.style import Mark, marks_of
from training.compare.report.tables import flat_rows, write_csv, write_parquet

PAGE, CSV, PARQUET, FIGURES = "report.html", "results.csv", "results.parquet", "figures"


def require_libraries() -> None:
    """Check that the report's libraries are installed, before a grid is trained.

    Raises:
        ImportError: a library of the extra `study` is missing.
    """
    missing = [name for name in ("scipy", "jinja2", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"the report of a study needs {' and '.join(missing)}, not installed: pip install {' '.join(missing)}"
        )


def write_report(folder: Path, study: StudyFacts, outcomes: Sequence[Outcome]) -> list[Path]:
    """Judge what there is of a study and write report.html, results.csv, results.parquet and figures/*.png.

    Works with any part of a grid, none included; what cannot be judged says why. The same outcomes give the same bytes.

    Args:
        folder: made where it is missing; files of an older report are replaced, each as a whole.

    Returns:
        what was written, the page first.
    """
    answer = judge(study, outcomes)
    outcomes = in_order(study, outcomes)
    marks = marks_of(study, [one.method for one in outcomes])
    used = {one.method for one in outcomes}
    marks = {name: mark for name, mark in marks.items() if name in used}
    accuracy = tested_accuracy(outcomes)
    main = [one for one in answer.comparisons if one.arm.cell.role == MAIN]
    of_controls = [one for one in answer.comparisons if one.arm.cell.role != MAIN]
    shown = Shown(
        accuracy=accuracy_panels(study, answer, marks, accuracy),
        differences=plots.differences(main, marks, study.margin),
        controls=plots.differences(of_controls, marks, study.margin),
        whole=plots.against_whole(answer.against_whole, marks, study),
        visits=plots.visits(answer, marks),
    )
    rows = flat_rows(outcomes)
    return [
        write_page(folder / PAGE, study, outcomes, answer, marks, shown),
        write_csv(folder / CSV, rows),
        write_parquet(folder / PARQUET, rows),
        *_figures(folder / FIGURES, shown, marks, accuracy),
    ]


def _figures(folder: Path, shown: Shown, marks: dict[str, Mark], accuracy: str) -> list[Path]:
    figures = (
        ("accuracy.png", shown.accuracy, f"{accuracy.capitalize()} of the last epoch, mean and 95 % interval", marks),
        ("differences.png", [*map(panel_of, shown.differences)], "Choosing, less not choosing", {}),
        ("controls.png", [*map(panel_of, shown.controls)], "Controls: choosing, less not choosing", {}),
        ("whole_budget.png", [*map(panel_of, shown.whole)], "A small budget, less the whole budget", {}),
        ("visits.png", [*map(panel_of, shown.visits)], "How unevenly each run visited the samples", {}),
    )
    written: list[Path] = []
    for name, panels, title, legend in figures:
        if panels:
            written.append(write_png(folder / name, panels, title, legend))
        else:
            (folder / name).unlink(missing_ok=True)  # of an older report: it would not belong to this one
    return written
