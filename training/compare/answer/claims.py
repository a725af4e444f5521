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
        choosing.judge_negative(of_role[NEGATIVE], is_complete, of_role[MAIN]),
    )
    controls = tuple(verdict for verdict in found if verdict)
    claim = _weighed(choosing.judge_claim(of_role[MAIN], study.margin), controls)
    by_method = [_weighed(one, controls) for one in choosing.judge_methods(of_role[MAIN], study.margin)]
    variants = dict.fromkeys(cell.variant for cell in cells if cell.role == MAIN)
    rows = {variant: tuple(augmenting.against_whole(cells, study, variant)) for variant in variants}
    second = [verdict for variant in variants for verdict in augmenting.judge_variant(rows[variant], study, variant)]
    failed = [choosing.failure(one) for one in controls if one.decision == "refuted"]
    answer = [_on_choosing(claim, by_method, of_role[MAIN], study, controls), _on_augmenting(rows, study)]
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
    claim: Verdict,
    by_method: Sequence[Verdict],
    comparisons: Sequence[Comparison],
    study: StudyFacts,
    controls: Sequence[Verdict],
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
        winners = [_winner(one.about, valid) for one in by_method if one.decision == "refuted"]
        holds = choosing.decide_by_holm(valid) == "refuted"
        weaker = "" if holds else ", but not with Holm's correction for the number of methods"
        return f"Choosing samples pays: {wording.listed(winners)}{weaker}; {numbers}."
    if claim.decision == "supported":
        if any((one.claim, one.decision) == (choosing.POSITIVE_CLAIM, "supported") for one in controls):
            return f"Choosing samples does not pay: no method won consistently; {numbers}."
        return f"No method won consistently, which says little without a positive control that came out: {numbers}."
    return f"Whether choosing samples pays is undecided: {numbers}."


def _winner(method: str, comparisons: Sequence[Comparison]) -> str:
    wins = [one.wins for one in comparisons if one.arm.method == method]
    return f"{method} won in {sum(wins)} of {wording.counted(len(wins), 'comparison')}"


def _on_augmenting(rows: dict[str, tuple[AgainstWhole, ...]], study: StudyFacts) -> str:
    strong = {variant: augmenting.strong_augmentations(some, study) for variant, some in rows.items()}
    best = {variant: some[0] for variant, some in strong.items() if some}
    if not best:
        return f"Whether augmenting replaces budget cannot be told: {augmenting.MISSING}."
    results = {variant: row.result(study.maintain_margin) for variant, row in best.items()}
    verbs = {"falls short": "falls short of", "undecided": "cannot be told from"}
    parts = [
        f"{f'with {variant}, ' if variant else ''}{row.arm.cell.augmentation} at budget {row.arm.cell.budget:g} "
        f"{verbs.get(results[variant], results[variant])} {row.whole.cell.augmentation} at budget "
        f"{row.whole.cell.budget:g}, {wording.difference(row.difference)}"
        f"{augmenting.remark_by_holm(strong[variant], results[variant], study.maintain_margin)}"
        for variant, row in best.items()
    ]
    return f"{_head_on_augmenting([*results.values()])}: {'; '.join(parts)}."


def _head_on_augmenting(results: Sequence[str]) -> str:
    """One result decides for all of its kind; a setting that is undecided contradicts none."""
    replaces, falls_short = sum(one in ("surpasses", "maintains") for one in results), results.count("falls short")
    if replaces and falls_short:
        return "Whether augmenting replaces budget depends on the setting"
    if not replaces and not falls_short:
        return "Whether augmenting replaces budget is undecided"
    head = "Augmenting does replace budget" if replaces else "Augmenting does not replace budget"
    told = replaces + falls_short
    return head if told == len(results) else f"{head} in {told} of {len(results)} settings, undecided in the rest"


def _notes(study: StudyFacts, outcomes: Sequence[Outcome], controls: Sequence[Verdict]) -> list[str]:
    notes = []
    if len(outcomes) < study.planned:
        notes.append(f"The study is not finished: {len(outcomes):,} of {study.planned:,} cells.")
    failed = sum(one.status == "failed" for one in outcomes)
    if failed:
        notes.append(f"{wording.counted(failed, 'run')} failed; they count as outcomes.")
    roles = {one.role for one in outcomes}
    if outcomes and POSITIVE not in roles:
        notes.append(
            "No runs of a positive control: where nothing wins, that may also mean that this set-up shows no effect."
        )
    if outcomes and NEGATIVE not in roles:
        notes.append("No runs of a negative control: nothing shows what wrong labels do to a choice in this set-up.")
    notes += [f"{one.claim}: undecided. {one.sentence}" for one in controls if one.decision == "undecided"]
    return notes


def _left_out(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence for each method and reason; comparisons with one seed are only counted."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        if one.left_out and one.left_out != ONE_SEED:
            groups.setdefault((one.arm.method, wording.pattern(one.detail)), []).append(one)
    sentences = []
    for (method, _), some in groups.items():
        where = f" ({'; '.join(str(one.arm.cell) for one in some)})" if len(some) <= NAMED else ""
        first = ", the first of them" if len({one.detail for one in some}) > 1 else ""
        sentences.append(f"{method} in {wording.counted(len(some), 'comparison')}{where}{first}: {some[0].detail}.")
    single = sum(one.left_out == ONE_SEED for one in comparisons)
    if single:
        sentences.append(f"{wording.counted(single, 'comparison')} with fewer than two seeds.")
    return sentences
