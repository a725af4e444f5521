"""A small figure that is both a part of the page (SVG) and of a PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from loaders.formats.atomic import atomic_path
from training.compare.report.plots import Place
from training.compare.report.style import INK, LINE, MUTED, Mark, for_page

WIDTH = 5.0
"""Of a panel, in inches: its text can still be read on a phone, and is not too large on a desktop."""

_SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a label may have a $ in it
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "svg.fonttype": "none",  # text stays text, in the page's font
}


@dataclass(frozen=True)
class Panel:
    """One of the small figures that stand side by side.

    Attributes:
        place: heading and title.
        draw: puts it on axes; returns what the points say when they are pointed at, by gid.
        height: in inches, at a width of `WIDTH`.
    """

    place: Place
    draw: Callable[[Axes], dict[str, str]]
    height: float = 3.4


def svg_of(panel: Panel, number: int) -> str:
    """A panel as an <svg> element to put into a page, without its title.

    Args:
        number: tells the names of this panel's parts from those of others in the page.
    """
    with _settings(f"rebar {number}"):
        figure = Figure(figsize=(WIDTH, panel.height), layout="constrained")
        tips = panel.draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for gid, text in tips.items():
        svg = svg.replace(f'<g id="{gid}">', f"<g><title>{escape(text)}</title>")
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)  # names such as axes_1 would repeat in the page
    label = quoteattr(str(panel.place))
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        lambda found: f'<svg viewBox="{found[1]}" role="img" aria-label={label}>',
        svg,
        count=1,
    )
    return for_page(re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg))


def write_png(path: Path, panels: Sequence[Panel], title: str, marks: dict[str, Mark]) -> Path:
    """Panels side by side, with a legend of the methods."""
    with _settings("rebar"):
        columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3 if len(panels) % 4 else 4)
        lines = math.ceil(len(panels) / columns)
        heights = [max(panel.height for panel in panels[i * columns : (i + 1) * columns]) for i in range(lines)]
        figure = Figure(figsize=(WIDTH * columns, sum(heights) + 1), layout="constrained")
        grid = figure.add_gridspec(lines, columns, height_ratios=heights)
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(grid[divmod(index, columns)])
            panel.draw(axes)
            axes.set_title(str(panel.place))
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        if marks:
            handles = [
                Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="", label=name)
                for name, mark in marks.items()
            ]
            figure.legend(
                handles=handles, loc="outside lower left", ncols=min(len(handles), 3 * columns), frameon=False
            )
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, facecolor="white")
    return path


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": salt}):
        yield
