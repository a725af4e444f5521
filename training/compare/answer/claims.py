"""The answer of a study: both claims by their rules, the controls, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.compare.answer import augmenting, choosing, wording
from training.compare.answer.arms import MAIN, NEGATIVE, POSITIVE, Arm, Cell, group
from training.compare.answer.augmenting import AgainstWhole
from training.compare.answer.comparisons import ONE_SEED, Comparison, compare_all
from training.compare.answer.facts import StudyFacts
from training.compare.answer.verdict import Verdict
from training.compare.outcome import Outcome

NAMED = 3
"""So many cells of a method that is left out are listed by name; beyond that they are counted."""


@dataclass(frozen=True)
class Answer:
    """What a study says.

    Attributes:
        sentences: the answer: one on choosing, one on augmenting; a failed control comes before both. Each is a
            headline, a colon, and its numbers.
        notes: what weakens it: missing runs, controls that were not run.
        controls: verdicts of the controls that were run.
        choosing: claim 1 over all methods, then for each of them.
        augmenting: claim 2 for each variant, in both wordings.
        cells: all runs, by cell and method.
        comparisons: each method beside the better baseline of its cell.
        against_whole: by variant, the arms of the small budget beside the whole budget.
        left_out: why comparisons count for no verdict, a sentence for each method and reason.
    """

    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    controls: tuple[Verdict, ...]
    choosing: tuple[Verdict, ...]
    augmenting: tuple[Verdict, ...]
    cells: dict[Cell, dict[str, Arm]]
    comparisons: tuple[Comparison, ...]
    against_whole: dict[str, tuple[AgainstWhole, ...]]
    left_out: tuple[str, ...]


def judge(study: StudyFacts, outcomes: Sequence[Outcome]) -> Answer:
    """Apply the rules to all outcomes that there are; whatever cannot be judged says so."""
    cells = group(in_order(study, outcomes))
    comparisons = compare_all(cells, study.baselines, study.margin)
    is_complete = len(outcomes) >= study.planned
    of_role = {role: [one for one in comparisons if one.arm.cell.role == role] for role in (MAIN, POSITIVE, NEGATIVE)}
    found = (
        choosing.judge_positive(of_role[POSITIVE], is_complete),
        choosing.judge_negative(of_role[NEGATIVE], is_complete),
    )
    controls = tuple(verdict for verdict in found if verdict)
    claim = _weighed(choosing.judge_claim(of_role[MAIN], study.margin), controls)
    by_method = [_weighed(one, controls) for one in choosing.judge_methods(of_role[MAIN], study.margin)]
    variants = dict.fromkeys(cell.variant for cell in cells if cell.role == MAIN)
    rows = {variant: tuple(augmenting.against_whole(cells, study, variant)) for variant in variants}
    second = [verdict for variant in variants for verdict in augmenting.judge_variant(rows[variant], study, variant)]
    failed = [choosing.failure(one) for one in controls if one.decision == "refuted"]
    answer = [_on_choosing(claim, by_method, of_role[MAIN], study), _on_augmenting(rows, study)]
    if not is_complete:
        answer = [f"So far, {sentence[0].lower()}{sentence[1:]}" for sentence in answer]
    return Answer(
        sentences=(*failed, *answer) if outcomes else ("No run has ended yet, so there is nothing to say.",),
        notes=tuple(_notes(study, outcomes, controls)),
        controls=controls,
        choosing=(claim, *by_method),
        augmenting=tuple(second),
        cells=cells,
        comparisons=tuple(comparisons),
        against_whole=rows,
        left_out=tuple(_left_out(comparisons)),
    )


def in_order(study: StudyFacts, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes by role, variant, augmentation, budget, method and seed, labels in the study's order."""

    def place(label: str, labels: tuple[str, ...]) -> tuple[int, str]:
        return (labels.index(label), "") if label in labels else (len(labels), label)

    def key(one: Outcome):
        return (
            (MAIN, POSITIVE, NEGATIVE).index(one.role),
            place(one.variant, study.variants),
            place(one.augmentation, study.augmentations),
            one.budget,
            place(one.method, study.methods),
            one.seed,
        )

    return sorted(outcomes, key=key)


def _weighed(verdict: Verdict, controls: Sequence[Verdict]) -> Verdict:
    """A null result beside a failed control decides nothing."""
    if verdict.decision != "supported" or all(one.decision != "refuted" for one in controls):
        return verdict
    sentence = f"{verdict.sentence} Supported by the rule, but a control failed."
    return Verdict(verdict.claim, verdict.about, "undecided", sentence)


def _on_choosing(
    claim: Verdict, by_method: Sequence[Verdict], comparisons: Sequence[Comparison], study: StudyFacts
) -> str:
    if not comparisons:
        return "Whether choosing samples pays is not asked here: no method is compared with a baseline."
    valid = choosing.judged(comparisons)
    if not valid:
        return f"Whether choosing samples pays cannot be told: {claim.sentence}"
    baselines = f"the better of {wording.listed(study.baselines)}" if study.baselines[1:] else study.baselines[0]
    beside = f"{wording.counted(len(valid), 'comparison')} with {baselines}"
    numbers = f"{beside}, at equal FLOPs: {choosing.tally(valid, study.margin)}"
    if claim.decision == "refuted":
        winners = [one.about for one in by_method if one.decision == "refuted"]
        return f"Choosing samples pays: {wording.listed(winners)} won consistently; {numbers}."
    if claim.decision == "supported":
        return f"Choosing samples does not pay: no method won consistently; {numbers}."
    return f"Whether choosing samples pays is undecided: {numbers}."


def _on_augmenting(rows: dict[str, tuple[AgainstWhole, ...]], study: StudyFacts) -> str:
    best = {
        variant: strong[0] for variant, some in rows.items() if (strong := augmenting.strong_augmentations(some, study))
    }
    if not best:
        return f"Whether augmenting replaces budget cannot be told: {augmenting.MISSING}."
    results = {variant: row.result(study.maintain_margin) for variant, row in best.items()}
    verbs = {"falls short": "falls short of", "undecided": "cannot be told from"}
    parts = [
        f"{f'with {variant}, ' if variant else ''}{row.arm.cell.augmentation} at budget {row.arm.cell.budget:g} "
        f"{verbs.get(results[variant], results[variant])} {row.whole.cell.augmentation} at budget "
        f"{row.whole.cell.budget:g}, {wording.difference(row.difference)}"
        for variant, row in best.items()
    ]
    return f"{_HEADS.get(frozenset(map(_kind, results.values())), _DEPENDS)}: {'; '.join(parts)}."


_HEADS = {
    frozenset({"replaces"}): "Augmenting does replace budget",
    frozenset({"falls short"}): "Augmenting does not replace budget",
    frozenset({"undecided"}): "Whether augmenting replaces budget is undecided",
}
_DEPENDS = "Whether augmenting replaces budget depends on the setting"


def _kind(result: str) -> str:
    return "replaces" if result in ("surpasses", "maintains") else result


def _notes(study: StudyFacts, outcomes: Sequence[Outcome], controls: Sequence[Verdict]) -> list[str]:
    notes = []
    if len(outcomes) < study.planned:
        notes.append(f"The study is not finished: {len(outcomes):,} of {study.planned:,} cells.")
    failed = sum(one.status == "failed" for one in outcomes)
    if failed:
        notes.append(f"{wording.counted(failed, 'run')} failed; they count as outcomes.")
    roles = {one.role for one in outcomes}
    missing = [role for role in (POSITIVE, NEGATIVE) if role not in roles]
    if outcomes and missing:
        notes.append(
            f"No runs of the {wording.listed(missing)}: that nothing wins may also mean that this set-up shows no "
            "effect."
        )
    notes += [f"{one.claim}: undecided. {one.sentence}" for one in controls if one.decision == "undecided"]
    return notes


def _left_out(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence for each method and reason; comparisons with one seed are only counted."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        if one.left_out and one.left_out != ONE_SEED:
            groups.setdefault((one.arm.method, one.left_out), []).append(one)
    sentences = []
    for (method, _), some in groups.items():
        where = f" ({'; '.join(str(one.arm.cell) for one in some)})" if len(some) <= NAMED else ""
        sentences.append(f"{method} in {wording.counted(len(some), 'comparison')}{where}: {some[0].detail}.")
    single = sum(one.left_out == ONE_SEED for one in comparisons)
    if single:
        sentences.append(f"{wording.counted(single, 'comparison')} with fewer than two seeds.")
    return sentences
