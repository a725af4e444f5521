"""Plots with a line for each method, as values: the page and the figures show the same ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from training.compare.answer import wording
from training.compare.answer.arms import MAIN, Arm, Cell
from training.compare.answer.augmenting import AgainstWhole
from training.compare.answer.claims import Answer
from training.compare.answer.comparisons import Comparison
from training.compare.answer.facts import StudyFacts
from training.compare.answer.statistics import Difference
from training.compare.report.style import Mark


class Place(NamedTuple):
    """Where cells that differ in nothing but the budget are shown: the heading that some plots share, and a title."""

    section: str
    title: str

    def __str__(self) -> str:
        return " · ".join(word for word in self[::-1] if word)


@dataclass(frozen=True)
class Row:
    """A line of a plot, for a method.

    Attributes:
        label: the method.
        mark: how it looks.
        points: in the unit of the plot's axis.
        text: the numbers.
        bar: from where to where the interval goes; None where there is none.
        result: in a word or two, with `tone` "good", "bad" or "".
        tip: more numbers.
        is_hollow: it counts for no verdict.
    """

    label: str
    mark: Mark
    points: tuple[float, ...]
    text: str
    bar: tuple[float, float] | None = None
    result: str = ""
    tone: str = ""
    tip: str = ""
    is_hollow: bool = False


@dataclass(frozen=True)
class Group:
    """Rows of one cell, with a note beside their title."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plot:
    """Groups of rows on one axis.

    Attributes:
        place: heading and title.
        axis: what it is, with its unit.
        groups: of rows.
        low, high: ends of the axis.
        band: where differences count as none.
        num_ticks: at most so many numbers on the axis.
    """

    place: Place
    axis: str
    groups: tuple[Group, ...]
    low: float
    high: float
    band: tuple[float, float] | None = None
    num_ticks: int = 5

    def at(self, value: float) -> float:
        """Where a value lies, in percent of the plot's width."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Places, in percent, and texts of some round numbers."""
        found = [float(x) for x in MaxNLocator(nbins=self.num_ticks).tick_values(self.low, self.high)]
        return [(self.at(x), f"{x:g}".replace("-", "−")) for x in found if self.low <= x <= self.high]


def place_of(cell: Cell) -> Place:
    """Each variant is a section of its own; a control has no heading, but a longer title."""
    if cell.role == MAIN:
        return Place(cell.variant, cell.augmentation)
    return Place("", " · ".join(word for word in (cell.role, cell.augmentation, cell.variant) if word))


def by_section(plots: Sequence[Plot]) -> list[tuple[str, list[Plot]]]:
    """Plots by their heading, in order."""
    found: dict[str, list[Plot]] = {}
    for one in plots:
        found.setdefault(one.place.section, []).append(one)
    return [*found.items()]


def differences(comparisons: Sequence[Comparison], marks: dict[str, Mark], margin: float) -> list[Plot]:
    """Each method beside the better baseline, a plot for each augmentation and variant."""
    places: dict[Place, dict[Cell, list[Comparison]]] = {}
    for one in comparisons:
        places.setdefault(place_of(one.arm.cell), {}).setdefault(one.arm.cell, []).append(one)
    grouped = {
        place: [
            Group(
                f"budget {cell.budget:g}",
                _baseline_note(some[0].baseline),
                tuple(_difference(one, marks[one.arm.method]) for one in some),
            )
            for cell, some in cells.items()
        ]
        for place, cells in places.items()
    }
    return _forests(grouped, "less the better baseline (points)", margin)


def against_whole(rows: dict[str, tuple[AgainstWhole, ...]], marks: dict[str, Mark], study: StudyFacts) -> list[Plot]:
    """The small budget beside the whole one, a plot for each variant."""
    grouped: dict[Place, list[Group]] = {}
    for variant, some in rows.items():
        if not some:
            continue
        uniform = [row for row in some if row.arm.method in study.baselines]
        choosing = [row for row in some if row.arm.method not in study.baselines]
        title = f"budget {some[0].arm.cell.budget:g} less budget {some[0].whole.cell.budget:g}"
        grouped[Place(variant, title)] = [
            Group(
                name,
                _baseline_note(some[0].whole),
                tuple(_against(row, marks[row.arm.method], study.maintain_margin) for row in part),
            )
            for name, part in (("a uniform order", uniform), ("methods that choose", choosing))
            if part
        ]
    return _forests(grouped, "less the whole budget (points)", study.maintain_margin)


def visits(answer: Answer, marks: dict[str, Mark]) -> list[Plot]:
    """How unevenly each run visited the samples, a plot for each augmentation and variant."""
    grouped: dict[Place, list[Group]] = {}
    for cell, arms in answer.cells.items():
        rows = tuple(_visits(arm, marks[name]) for name, arm in arms.items() if _of_visits(arm, "cv"))
        if rows:
            group = Group(f"budget {cell.budget:g}", "cv · entropy deficit", rows)
            grouped.setdefault(place_of(cell), []).append(group)
    largest = max(
        [x for some in grouped.values() for group in some for row in group.rows for x in row.points], default=0
    )
    high = 1.06 * max(largest, 0.01)
    axis = "coefficient of variation of the visits"
    return [Plot(place, axis, tuple(groups), -0.02 * high, high, num_ticks=3) for place, groups in grouped.items()]


def _forests(grouped: dict[Place, list[Group]], axis: str, margin: float) -> list[Plot]:
    """All on one axis, symmetric around 0."""
    rows = [row for groups in grouped.values() for group in groups for row in group.rows]
    ends = [abs(end) for row in rows for end in (*row.points, *(row.bar or ()))]
    limit, band = 1.08 * max([200 * margin, *ends]), (-100 * margin, 100 * margin)
    return [Plot(place, axis, tuple(groups), -limit, limit, band) for place, groups in grouped.items()]


def _difference(one: Comparison, mark: Mark) -> Row:
    tone = {"wins": "good", "loses": "bad", "failed": "bad"}.get(one.result, "")
    p_values = f"p after Holm {wording.p_value(one.p_holm)}, of equivalence {wording.p_value(one.p_equivalence)}"
    failed = f"{wording.counted(one.arm.num_failed, 'run')} failed; " if one.arm.num_failed else ""
    tip = failed + (one.detail or p_values)
    result = one.left_out or one.result
    return _forest_row(one.arm.method, mark, one.difference, result, tone, tip, bool(one.left_out))


def _against(row: AgainstWhole, mark: Mark, margin: float) -> Row:
    result = row.result(margin) if row.has_interval else "one seed"
    tone = {"surpasses": "good", "maintains": "good", "falls short": "bad"}.get(result, "")
    label = f"{row.arm.cell.augmentation}, {row.arm.method}"
    tip = "" if row.flops_fraction is None else f"{row.flops_fraction:.2f} of the FLOPs"
    if row.spends_too_much:
        result = "other FLOPs" if row.flops_fraction else "unknown FLOPs"
    return _forest_row(label, mark, row.difference, result, tone, tip, row.spends_too_much)


def _forest_row(
    label: str, mark: Mark, found: Difference | None, result: str, tone: str, tip: str, is_hollow: bool
) -> Row:
    if found is None:
        return Row(label, mark, (), "no finished run", None, result, tone, tip, is_hollow)
    bar = (100 * found.low, 100 * found.high) if math.isfinite(found.low) else None
    return Row(label, mark, (100 * found.value,), wording.plus_minus(found), bar, result, tone, tip, is_hollow)


def _visits(arm: Arm, mark: Mark) -> Row:
    cvs, deficits = _of_visits(arm, "cv"), _of_visits(arm, "entropy_deficit")
    text = f"{statistics.fmean(cvs):.3f}" + (f" · {statistics.fmean(deficits):.4f}" if deficits else "")
    silent = arm.did_not_choose
    if not silent:
        return Row(arm.method, mark, tuple(cvs), text)
    tip = f"{len(silent)} of {len(arm.finished)} runs: {silent[0]}"
    return Row(arm.method, mark, tuple(cvs), text, result="did not choose", tone="bad", tip=tip)


def _of_visits(arm: Arm, name: str) -> list[float]:
    """One statistic of the visits, of each run that has it."""
    found = [one.summary.get("visits", {}).get(name) for one in arm.finished]
    return [value for value in found if value is not None]


def _baseline_note(baseline: Arm | None) -> str:
    if baseline is None or baseline.interval is None:
        return "no baseline"
    found = baseline.interval
    half = f" ± {100 * (found.high - found.value):.2f}" if math.isfinite(found.low) else ""
    return f"{baseline.method} {100 * found.value:.2f}{half} %"
