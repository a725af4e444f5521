"""report.html: one file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from loaders.formats.atomic import atomic_path
from training.compare.answer import augmenting, choosing, wording
from training.compare.answer.claims import Answer
from training.compare.answer.facts import StudyFacts
from training.compare.outcome import Outcome
from training.compare.report import ledger
from training.compare.report.panel import Panel, svg_of
from training.compare.report.plots import Plot, by_section
from training.compare.report.style import PALETTE, Mark


@dataclass(frozen=True)
class Shown:
    """What the page shows as plots and small figures.

    Attributes:
        accuracy: figures of accuracy against budget.
        differences, controls: methods beside the better baseline, in the main grid and in the controls.
        whole: the small budget beside the whole one.
        visits: how unevenly each run visited the samples.
    """

    accuracy: Sequence[Panel]
    differences: Sequence[Plot]
    controls: Sequence[Plot]
    whole: Sequence[Plot]
    visits: Sequence[Plot]


def write_page(
    path: Path, study: StudyFacts, outcomes: Sequence[Outcome], answer: Answer, marks: dict[str, Mark], shown: Shown
) -> Path:
    """Write the page.

    Args:
        outcomes: in the study's order.
    """
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    figures: dict[str, list[tuple[str, str]]] = {}
    for number, panel in enumerate(shown.accuracy):
        figure = markupsafe.Markup(svg_of(panel, number))
        figures.setdefault(panel.place.section, []).append((panel.place.title, figure))
    page = environment.get_template("page.html.j2").render(
        study=study,
        answer=answer,
        palette=PALETTE,
        marks=marks,
        failures=tuple(choosing.FAILURES.values()),
        first_claim=choosing.CLAIM,
        second_claims=(augmenting.MAINTAINS, augmenting.SURPASSES),
        accuracy=ledger.tested_accuracy(outcomes),
        figures=figures,
        differences=by_section(shown.differences),
        controls=by_section(shown.controls),
        whole=by_section(shown.whole),
        visits=by_section(shown.visits),
        did_not_choose=ledger.did_not_choose(outcomes),
        costs=ledger.costs(answer, study),
        runs=ledger.all_runs(outcomes),
        in_common=ledger.in_common(outcomes),
        totals=ledger.totals(outcomes),
        words=wording,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _unbroken(text: str) -> str:
    """A line never ends between a number and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _text(name: str) -> str:
    return resources.files("training.compare.report").joinpath(name).read_text("utf-8")
