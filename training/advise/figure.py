"""advice.png: the curves by method, and what they expect of the planned run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from loaders.formats.atomic import atomic_path
from training.advise.arms import Arm
from training.advise.verdict import Question

_COLOURS = ("#3c4654", "#2466d1", "#d0680c", "#198754", "#8347d9", "#c92a6b")


def draw(path: Path, question: Question, arms: Sequence[Arm], title: str) -> None:
    """Draw a panel of curves for each method, and one with the intervals of all arms at the planned visits.

    A curve is dashed beyond the pilots; the bar at its end is the 95 % interval of the mean. Pilots that are in no
    curve are not drawn.

    Args:
        title: the answer, in a line.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    methods = [*dict.fromkeys(arm.method for arm in arms)]
    names = [*dict.fromkeys(arm.augmentation for arm in arms)]
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    ticks = sorted({round(visits, 2) for arm in arms for visits in arm.visits} | {question.visits})
    widths = [1.0] * len(methods) + [0.9]
    figure, axes = pyplot.subplots(
        1, len(widths), figsize=(4.6 * len(widths), 4.8), width_ratios=widths, layout="constrained"
    )
    for panel, method in zip(axes, methods, strict=False):
        mine = [arm for arm in arms if arm.method == method]
        for index, arm in enumerate(mine):
            _curve(panel, question, arm, colours[arm.augmentation], index - (len(mine) - 1) / 2)
        panel.axvline(question.visits, color="#98a2b1", linewidth=1, linestyle=":")
        panel.set(title=method, xscale="log", xlabel="visits per sample", ylabel="accuracy of held-out images (%)")
        panel.sharey(axes[0])
        panel.sharex(axes[0])
        panel.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
        if any(arm.curve for arm in mine):
            panel.legend(fontsize="small", loc="lower right")
        else:
            panel.text(0.5, 0.5, "no curve", transform=panel.transAxes, ha="center", color="#667080")
    _intervals(axes[-1], question, arms, colours)
    figure.suptitle(title, fontsize="medium", wrap=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)


def _curve(panel, question: Question, arm: Arm, colour: str, shift: float) -> None:
    """One arm's pilots and curve; `shift` keeps the bars of several arms apart."""
    panel.plot(arm.visits, 100 * np.array(arm.accuracies), "o", color=colour, markersize=4, alpha=0.6)
    if arm.curve is None or arm.expected is None:
        return
    largest = max(arm.visits)
    within = np.geomspace(min(arm.visits), largest, 100)
    beyond = np.geomspace(largest, max(largest, question.visits), 50)
    panel.plot(within, 100 * arm.curve(within), color=colour, label=arm.augmentation)
    panel.plot(beyond, 100 * arm.curve(beyond), color=colour, linestyle="--")
    found = arm.expected
    bar = 100 * np.array([[max(0.0, found.accuracy - found.low)], [max(0.0, found.high - found.accuracy)]])
    panel.errorbar(question.visits * 1.04**shift, 100 * found.accuracy, yerr=bar, color=colour, capsize=2)


def _intervals(panel, question: Question, arms: Sequence[Arm], colours: dict[str, str]) -> None:
    """The arms by what is expected of them, the best one above."""
    known = sorted((arm for arm in arms if arm.expected), key=lambda arm: arm.expected.accuracy if arm.expected else 0)
    for row, arm in enumerate(known):
        found = arm.expected
        assert found is not None
        colour = colours[arm.augmentation]
        panel.plot([100 * found.run_low, 100 * found.run_high], [row, row], color=colour, linewidth=1, alpha=0.5)
        panel.plot([100 * found.low, 100 * found.high], [row, row], color=colour, linewidth=4, solid_capstyle="butt")
        panel.plot(100 * found.accuracy, row, "o", color="white", markeredgecolor=colour, markersize=6)
    panel.set_yticks(range(len(known)), [str(arm) for arm in known])
    panel.set(title=f"expected with budget {question.budget:g}", xlabel="accuracy (%): of the mean, thin of one run")
    panel.grid(axis="x", alpha=0.3)
