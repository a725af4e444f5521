"""curve.png: test accuracy and training loss against the samples trained on."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

from loaders.formats.atomic import atomic_path
from training.report.numbers import tested_split

LINE_CHARS = 90  # of the warning, that fit the width of the figure


def draw_curve(path: Path, rows: list[dict[str, Any]], title: str, warning: str | None = None) -> None:
    """Draw the rows of a run's metrics.jsonl; nothing where there are none.

    Args:
        title: above the curves.
        warning: printed above the title; None is none.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not rows:
        return
    split = tested_split(rows[0])
    tested = [row for row in rows if row[f"{split}_accuracy"] is not None]
    accuracy = [100 * row[f"{split}_accuracy"] for row in tested]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    above.plot([row["samples"] for row in tested], accuracy, "o-", color="tab:blue", markersize=4)
    last = f", {accuracy[-1]:.2f} % at the end" if tested else ""
    above.set(title=title + last, ylabel=f"{split} accuracy (%)")
    for some, name, colour in ((rows, "train", "tab:red"), (tested, split, "tab:blue")):
        samples, losses = [row["samples"] for row in some], [row[f"{name}_loss"] for row in some]
        below.plot(samples, losses, "o-", color=colour, markersize=4, label=name)
    below.set(xlabel="samples trained on", ylabel="loss (nats)", xlim=(0, None))
    below.legend()
    below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    if warning:
        figure.suptitle(textwrap.fill(f"warning: {warning}", LINE_CHARS), color="tab:red", fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)
