"""What the figures of a report show, drawn by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from training.compare.answer import wording
from training.compare.answer.arms import MAIN, Arm, Cell, better_of
from training.compare.answer.claims import Answer
from training.compare.answer.facts import StudyFacts
from training.compare.report.panel import Panel
from training.compare.report.plots import Place, Plot
from training.compare.report.style import BAND, INK, LINE, MUTED, Mark


def accuracy_panels(study: StudyFacts, answer: Answer, marks: dict[str, Mark], accuracy: str) -> list[Panel]:
    """Accuracy against budget, one panel for each variant and augmentation, all on one scale.

    Args:
        accuracy: what the accuracies are called, as "test accuracy".
    """
    cells = {cell: arms for cell, arms in answer.cells.items() if cell.role == MAIN}
    values = [value for arms in cells.values() for arm in arms.values() for value in arm.accuracies]
    if not values:
        return []
    budgets = sorted({cell.budget for cell in cells})
    room = 0.06 * (max(values) - min(values)) + 0.002
    limits = (100 * (min(values) - room), 100 * (max(values) + room))

    def panel(variant: str, augmentation: str) -> Panel:
        mine = {
            cell.budget: arms
            for cell, arms in cells.items()
            if (cell.variant, cell.augmentation) == (variant, augmentation)
        }
        reference = better_of(
            arm
            for name, arm in cells.get(Cell(MAIN, variant, study.standard_augmentation, budgets[-1]), {}).items()
            if name in study.baselines
        )

        def draw(axes: Axes) -> dict[str, str]:
            axes.set(xlim=(-0.5, len(budgets) - 0.5), ylim=limits, xlabel="budget", ylabel=f"{accuracy} (%)")
            axes.set_xticks(range(len(budgets)), [f"{budget:g}" for budget in budgets])
            axes.grid(visible=False, axis="x")
            for edge in range(1, len(budgets)):
                axes.axvline(edge - 0.5, color=LINE, linewidth=0.7)
            if reference is not None and reference.interval is not None:
                axes.axhline(100 * reference.interval.value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            return _draw_arms(axes, [mine.get(budget, {}) for budget in budgets], marks, study.baselines)

        return Panel(Place(variant, augmentation), draw)

    places = dict.fromkeys((cell.variant, cell.augmentation) for cell in cells)
    return [panel(*place) for place in places]


def _draw_arms(
    axes: Axes, columns: Sequence[dict[str, Arm]], marks: dict[str, Mark], baselines: Sequence[str]
) -> dict[str, str]:
    """Every run as a small point, means with their intervals, failed runs as crosses at the bottom."""
    tips: dict[str, str] = {}
    means: dict[str, list[tuple[float, float]]] = {}
    bottom = axes.get_ylim()[0]
    for column, arms in enumerate(columns):
        for index, (name, arm) in enumerate(arms.items()):
            x, mark = column + 0.86 * ((index + 0.5) / len(arms) - 0.5), marks[name]
            for one in arm.outcomes:
                gid = f"run-{len(tips)}"
                if one in arm.finished and one.accuracy is not None:
                    axes.plot(x, 100 * one.accuracy, "o", color=mark.colour, alpha=0.45, ms=3, mew=0, gid=gid)
                    told = wording.percent(one.accuracy)
                else:
                    axes.plot(x, bottom, "x", color=mark.colour, ms=5, gid=gid, clip_on=False)
                    told = one.error or "failed"
                tips[gid] = f"{name}, budget {one.budget:g}, seed {one.seed}: {told}"
            found = arm.interval
            if found is None:
                continue
            gid = f"mean-{len(tips)}"
            if math.isfinite(found.low):
                axes.vlines(x, 100 * found.low, 100 * found.high, color=mark.colour, linewidth=1.6)
            axes.plot(x, 100 * found.value, mark.marker, color=mark.colour, markersize=5.5, gid=gid)
            half = f" ± {100 * (found.high - found.value):.2f}" if math.isfinite(found.low) else ""
            tips[gid] = (
                f"{name}, budget {arm.cell.budget:g}: mean {100 * found.value:.2f}{half} % of {len(arm.accuracies)}"
            )
            means.setdefault(name, []).append((x, 100 * found.value))
    for name, line in means.items():
        if name in baselines:  # lines of all methods would hide each other
            axes.plot(*zip(*line, strict=True), color=marks[name].colour, linewidth=0.9, alpha=0.6, zorder=1)
    return tips


def panel_of(plot: Plot) -> Panel:
    """A plot with a line for each method, as the page has it too."""
    lines = [line for group in plot.groups for line in (group.title, *group.rows)]

    def draw(axes: Axes) -> dict[str, str]:
        axes.set(xlim=(plot.low, plot.high), ylim=(len(lines) - 0.4, -0.6), xlabel=plot.axis)
        if plot.band:
            axes.axvspan(*plot.band, color=BAND, linewidth=0, zorder=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(range(len(lines)), [line if isinstance(line, str) else line.label for line in lines])
        for y, (line, label) in enumerate(zip(lines, axes.get_yticklabels(), strict=True)):
            label.set_color(INK)
            if isinstance(line, str):
                label.set_fontweight("bold")
                continue
            colour = line.mark.colour
            if line.bar:
                axes.hlines(y, *line.bar, color=colour, linewidth=1.6)
            axes.plot(line.points, [y] * len(line.points), line.mark.marker, color=colour, markersize=5.5,
                      alpha=0.6 if len(line.points) > 1 else 1,
                      markerfacecolor="white" if line.is_hollow else colour)  # fmt: skip
        return {}

    return Panel(plot.place, draw, 0.9 + 0.21 * len(lines))
