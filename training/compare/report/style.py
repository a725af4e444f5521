"""Colours and marks of the report: one table for the page (light and dark) and for its figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from training.compare.answer.facts import StudyFacts

PALETTE = {
    # name of the CSS variable: on a light page, on a dark one
    "ink": ("#1c2128", "#e6e9ee"),
    "muted": ("#667080", "#98a2b1"),
    "line": ("#d9dee5", "#353c47"),
    "band": ("#e9edf3", "#262d38"),
    "m0": ("#2466d1", "#6ea8ff"),
    "m1": ("#d0680c", "#ff9f4a"),
    "m2": ("#198754", "#4fcf8f"),
    "m3": ("#8347d9", "#b892ff"),
    "m4": ("#c92a6b", "#ff7fb0"),
    "m5": ("#0b8494", "#40c9da"),
    "m6": ("#8a5a24", "#d6a66d"),
    "m7": ("#6f7d12", "#bccb4d"),
    "b0": ("#3c4654", "#c3cad6"),
    "b1": ("#8791a0", "#8c96a6"),
}
INK, MUTED, LINE, BAND = (PALETTE[name][0] for name in ("ink", "muted", "line", "band"))

SHAPES = {
    # matplotlib's marker: an SVG path in a box of 12 x 12
    "o": "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
    "^": "M6 1l5 9.5h-10z",
    "s": "M2 2h8v8h-8z",
    "v": "M6 11l5-9.5h-10z",
    "D": "M6 .5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
}


@dataclass(frozen=True)
class Mark:
    """How a method looks.

    Attributes:
        name: of its CSS variable.
        marker: matplotlib's letter for it.
    """

    name: str
    marker: str

    @property
    def colour(self) -> str:
        """On a light page, as a hexadecimal number."""
        return PALETTE[self.name][0]

    @property
    def path(self) -> str:
        """Its shape as an SVG path."""
        return SHAPES[self.marker]


def marks_of(study: StudyFacts, methods: Iterable[str]) -> dict[str, Mark]:
    """A mark for each method: greys and squares for the baselines, colours for the others."""
    names = [*dict.fromkeys([*study.methods, *methods])]
    baselines = [name for name in names if name in study.baselines]
    others = [name for name in names if name not in study.baselines]
    shapes = ("o", "^", "v", "D")
    marks = {name: Mark(f"b{min(index, 1)}", "sD"[index % 2]) for index, name in enumerate(baselines)}
    # Eight colours and four shapes repeat together only after 32 methods: a second round shifts the shape.
    return marks | {name: Mark(f"m{i % 8}", shapes[(i + i // 8) % 4]) for i, name in enumerate(others)}


def for_page(svg: str) -> str:
    """A figure whose colours follow the page's, light or dark."""
    for name, (light, _) in PALETTE.items():
        svg = svg.replace(light, f"var(--{name})")
    return svg
