"""Claim 1: no way of choosing samples consistently beats a uniform order; and the controls that give it a meaning.

The claim is that of Arazo et al., "How Important is Importance Sampling for Deep Budgeted Training?" (BMVC 2021). The
rules are set before any result is known:

- refuted: one method wins in at least 80 % of its cells. It wins in a cell where the 95 % interval (Welch) of its
  accuracy less that of the better baseline lies above 0, and none of its runs failed, and loses where it lies below 0,
  and none of the baseline's failed;
- supported: in most cells it is equivalent to the better baseline (TOST) or loses, and it wins in at most half of them;
- undecided: anything else.

Only comparisons at equal FLOPs count, scoring included, and only of runs that did choose. Where wins and losses by
Holm's test would decide otherwise, that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from training.compare.answer import wording
from training.compare.answer.comparisons import ONE_SEED, Comparison
from training.compare.answer.verdict import Decision, Verdict

CLAIM = "No way of choosing samples consistently beats a uniform order"
POSITIVE_CLAIM = "Positive control: where most images are duplicates of easy ones, choosing wins"
NEGATIVE_CLAIM = "Negative control: where labels are wrong, choosing the hard samples loses"
NO_EFFECT = "This set-up could not have shown an effect"
NO_HARM = "This set-up has not shown that wrong labels hurt"
FAILURES = {POSITIVE_CLAIM: NO_EFFECT, NEGATIVE_CLAIM: NO_HARM}
"""How a control that failed begins the answer."""
CONSISTENT = 0.8


def judge_methods(comparisons: Sequence[Comparison], margin: float) -> list[Verdict]:
    """A verdict for each method, in the order of their first comparison."""
    methods = dict.fromkeys(one.arm.method for one in comparisons)
    return [_judge([one for one in comparisons if one.arm.method == name], name, margin) for name in methods]


def judge_claim(comparisons: Sequence[Comparison], margin: float) -> Verdict:
    """The verdict over all methods: one that wins consistently refutes it."""
    return _judge(comparisons, "", margin)


def judge_positive(comparisons: Sequence[Comparison], is_complete: bool) -> Verdict | None:
    """Whether a method won where it must; None where no run of the control is there.

    Args:
        comparisons: those of the positive control.
        is_complete: whether all runs are there, so that a win may no longer be waited for.
    """
    return _judge_control(comparisons, is_complete, POSITIVE_CLAIM, "wins", lambda one: one.wins_after_holm)


def judge_negative(
    comparisons: Sequence[Comparison], is_complete: bool, clean: Sequence[Comparison] = ()
) -> Verdict | None:
    """Whether a method lost where it must; arguments as `judge_positive`.

    Args:
        clean: comparisons without wrong labels: a method that loses there too, with the same augmentation and budget,
            shows nothing by losing here.
    """

    def where(one: Comparison) -> tuple[str, str, float]:
        return one.arm.method, one.arm.cell.augmentation, one.arm.cell.budget

    everywhere = {where(one) for one in clean if one.loses}
    telling = [one for one in comparisons if where(one) not in everywhere]
    if comparisons and not telling:
        return Verdict(NEGATIVE_CLAIM, "", "undecided", "Undecided: every method loses where labels are right too.")
    return _judge_control(telling, is_complete, NEGATIVE_CLAIM, "loses", lambda one: one.loses_after_holm)


def failure(control: Verdict) -> str:
    """A control that failed, as a sentence of the answer: a headline, a colon, and its numbers."""
    which = control.claim.partition(":")[0].lower()
    return f"{FAILURES[control.claim]}: in the {which}, {control.sentence[0].lower()}{control.sentence[1:]}"


def judged(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those that verdicts use."""
    return [one for one in comparisons if not one.left_out]


def tally(comparisons: Sequence[Comparison], margin: float) -> str:
    """Wins (also where there are none), equivalent ones, losses and the rest, in words."""
    valid = judged(comparisons)
    found = Counter(one.result for one in valid)

    def by_holm(name: str, number: int) -> str:
        return "" if number == found[name] else f" ({number} by Holm's test)"

    wins = by_holm("wins", sum(one.wins_after_holm for one in valid))
    losses = by_holm("loses", sum(one.loses_after_holm for one in valid))
    texts = {
        "wins": wording.counted(found["wins"], "win") + wins if found["wins"] else "no win",
        "equivalent": f"{found['equivalent']} equivalent within ±{wording.margin(margin)}",
        "loses": wording.counted(found["loses"], "loss", "losses") + losses,
        "failed": f"{found['failed']} with a failed run",
        "unclear": f"{found['unclear']} too uncertain to tell",
    }
    return wording.listed([text for name, text in texts.items() if found[name] or name == "wins"])


def _judge(comparisons: Sequence[Comparison], about: str, margin: float) -> Verdict:
    valid = judged(comparisons)
    if not valid:
        return Verdict(CLAIM, about, "undecided", _why_none(comparisons))
    decision = _decide(valid, lambda one: one.wins, lambda one: one.loses)
    values = [one.difference.value for one in valid if one.difference is not None]
    ends = [*dict.fromkeys(wording.points(end(values)) for end in (min, max))] if values else []
    spread = f"; {' to '.join(ends)} points" if ends else ""
    sentence = f"{wording.counted(len(valid), 'comparison')}: {tally(valid, margin)}{spread}."
    strict = decide_by_holm(valid)
    if strict != decision:
        sentence += f" With Holm's correction for the number of methods: {strict}."
    return Verdict(CLAIM, about, decision, sentence)


def decide_by_holm(comparisons: Sequence[Comparison]) -> Decision:
    """The rule, with corrected wins and losses, for comparisons that count."""
    return _decide(comparisons, lambda one: one.wins_after_holm, lambda one: one.loses_after_holm)


def _decide(
    comparisons: Sequence[Comparison], wins: Callable[[Comparison], bool], loses: Callable[[Comparison], bool]
) -> Decision:
    """The rule, for one method or for all of them."""
    shares = {
        name: sum(map(wins, some)) / len(some)
        for name in {one.arm.method for one in comparisons}
        if (some := [one for one in comparisons if one.arm.method == name])
    }
    if max(shares.values()) >= CONSISTENT:
        return "refuted"
    no_better = sum(one.is_equivalent or loses(one) for one in comparisons)
    return "supported" if no_better > len(comparisons) / 2 and max(shares.values()) <= 0.5 else "undecided"


def _judge_control(
    comparisons: Sequence[Comparison], is_complete: bool, claim: str, verb: str, holds: Callable[[Comparison], bool]
) -> Verdict | None:
    if not comparisons:
        return None
    valid = [one for one in judged(comparisons) if one.difference is not None]
    if not valid:
        return Verdict(claim, "", "undecided", _why_none(comparisons))
    sign = 1 if verb == "wins" else -1
    best = max(valid, key=lambda one: (holds(one), sign * (one.difference.value if one.difference else 0.0)))
    assert best.difference is not None
    assert best.baseline is not None
    numbers = f"{wording.difference(best.difference)} against {best.baseline.method}"
    if holds(best):
        return Verdict(claim, "", "supported", f"{best.arm.method} {verb}, as it must: {numbers}.")
    decision, so_far = ("refuted", "") if is_complete else ("undecided", " so far")
    nearest = f"the nearest is {best.arm.method}: {numbers}"
    failed = sum(one.has_failed for one in valid)
    spoiled = f"; {failed} of {wording.counted(len(valid), 'comparison')} with a failed run" if failed else ""
    return Verdict(claim, "", decision, f"No method {verb} by Holm's test{so_far}; {nearest}{spoiled}.")


def _why_none(comparisons: Sequence[Comparison]) -> str:
    reasons = dict.fromkeys(one.left_out or "no run finished" for one in comparisons)
    if list(reasons) == [ONE_SEED]:
        return "Undecided: one seed. Two seeds or more give an interval."
    return (
        f"Undecided, no comparison counts: {wording.listed(list(reasons))}."
        if reasons
        else "Undecided: nothing to compare."
    )
