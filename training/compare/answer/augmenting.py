"""Claim 2: a uniform order with a strong augmentation does with a third of the budget what the whole budget does.

Two wordings, both of Arazo et al.: it "maintains" the accuracy of the whole budget with standard augmentation (BMVC
2021: the 95 % interval of the difference lies above minus 0.3 points), or "surpasses" it (the abstract of the first
submission: above 0). The better baseline stands for the uniform order on both sides. Each variant is judged for
itself: a weak reference, such as a small weight decay, makes the claim easy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.compare.answer import wording
from training.compare.answer.arms import MAIN, Arm, Cell, better_of
from training.compare.answer.comparisons import FLOPS_TOLERANCE
from training.compare.answer.facts import StudyFacts
from training.compare.answer.statistics import ALPHA, Difference, holm, welch
from training.compare.answer.verdict import Decision, Verdict

MAINTAINS = "A small budget with a strong augmentation maintains the accuracy of the whole budget"
SURPASSES = "A small budget with a strong augmentation surpasses the accuracy of the whole budget"

MISSING = (
    "it takes a baseline with standard augmentation at the largest budget, and with another augmentation at a smaller "
    "budget"
)


@dataclass(frozen=True)
class AgainstWhole:
    """An arm at the small budget beside the whole budget with standard augmentation.

    Attributes:
        arm: at the small budget.
        whole: the better baseline at the largest budget, with standard augmentation.
        difference: accuracy of the first less that of the second.
    """

    arm: Arm
    whole: Arm
    difference: Difference

    @property
    def flops_fraction(self) -> float | None:
        """FLOPs of the arm as a fraction of those of the whole budget."""
        flops, whole = self.arm.mean_of("flops"), self.whole.mean_of("flops")
        return flops / whole if flops is not None and whole else None

    @property
    def spends_too_much(self) -> bool:
        """More FLOPs than its budget allows, or unknown ones."""
        allowed = self.arm.cell.budget / self.whole.cell.budget * (1 + FLOPS_TOLERANCE)
        return self.flops_fraction is None or self.flops_fraction > allowed

    @property
    def has_interval(self) -> bool:
        """Two finished runs on both sides."""
        return min(len(self.arm.accuracies), len(self.whole.accuracies)) > 1

    def decide(self, bound: float) -> Decision:
        """Whether the difference is above `bound`, by its 95 % interval."""
        if not self.has_interval or self.spends_too_much:
            return "undecided"
        if self.difference.low > bound and not self.arm.num_failed:
            return "supported"
        return "refuted" if self.difference.high < bound and not self.whole.num_failed else "undecided"

    def result(self, maintain_margin: float) -> str:
        """Both wordings in a word or two."""
        if self.decide(0) == "supported":
            return "surpasses"
        of_maintaining = self.decide(-maintain_margin)
        return {"supported": "maintains", "refuted": "falls short", "undecided": "undecided"}[of_maintaining]


@dataclass(frozen=True)
class Budgets:
    """The budget that is asked to do as well, and the largest one."""

    small: float
    whole: float


def budgets_of(cells: Sequence[Cell], wanted: float) -> Budgets | None:
    """`wanted` if it was run, else the largest but one; None where there is a single budget."""
    all_of_them = sorted({cell.budget for cell in cells if cell.role == MAIN})
    if len(all_of_them) < 2:
        return None
    *smaller, whole = all_of_them
    return Budgets(wanted if wanted in smaller else smaller[-1], whole)


def against_whole(cells: dict[Cell, dict[str, Arm]], study: StudyFacts, variant: str) -> list[AgainstWhole]:
    """All arms of the small budget with a finished run beside the whole budget: the better baseline of each
    augmentation, then the methods that choose.
    """
    budgets = budgets_of(list(cells), study.small_budget)
    if budgets is None:
        return []
    standard = cells.get(Cell(MAIN, variant, study.standard_augmentation, budgets.whole), {})
    whole = _better_baseline(standard, study)
    if whole is None:
        return []
    baselines, choosing = [], []
    for cell, arms in cells.items():
        if (cell.role, cell.variant, cell.budget) == (MAIN, variant, budgets.small):
            baselines += [arm for arm in [_better_baseline(arms, study)] if arm]
            choosing += [arm for name, arm in arms.items() if name not in study.baselines and arm.accuracies]
    return [AgainstWhole(arm, whole, welch(arm.accuracies, whole.accuracies)) for arm in baselines + choosing]


def judge_variant(rows: Sequence[AgainstWhole], study: StudyFacts, variant: str) -> list[Verdict]:
    """Both wordings of the claim for one variant, by its best augmentation.

    Args:
        rows: of `against_whole`.
    """
    wordings = ((MAINTAINS, -study.maintain_margin), (SURPASSES, 0.0))
    strong = strong_augmentations(rows, study)
    if not strong:
        return [Verdict(claim, variant, "undecided", f"Undecided: {MISSING}.") for claim, _ in wordings]
    return [_judge(strong, claim, variant, bound) for claim, bound in wordings]


def strong_augmentations(rows: Sequence[AgainstWhole], study: StudyFacts) -> list[AgainstWhole]:
    """The baselines with another than the standard augmentation, the best one first."""
    strong = [
        row
        for row in rows
        if row.arm.method in study.baselines and row.arm.cell.augmentation != study.standard_augmentation
    ]
    return sorted(strong, key=lambda row: (row.has_interval, row.difference.value), reverse=True)


def _judge(strong: Sequence[AgainstWhole], claim: str, variant: str, bound: float) -> Verdict:
    best = strong[0]
    decision = best.decide(bound)
    sentence = describe(best)
    if not best.has_interval:
        sentence += " Undecided: one seed."
    elif best.spends_too_much:
        sentence += " Undecided: these are more FLOPs than the budget allows, or unknown ones."
    else:
        for arm, of_what in ((best.arm, "it"), (best.whole, "the whole budget")):
            if arm.num_failed:
                sentence += f" {wording.counted(arm.num_failed, 'run')} of {of_what} failed."
    if decision == "supported" and not _holds_after_holm(strong, bound):
        sentence += f" It is the best of {len(strong)} augmentations: with Holm's correction undecided."
    return Verdict(claim, variant, decision, sentence)


def remark_by_holm(strong: Sequence[AgainstWhole], result: str, maintain_margin: float) -> str:
    """What is to be added to the result of the best augmentation where Holm's correction would leave it open."""
    bound = {"surpasses": 0.0, "maintains": -maintain_margin}.get(result)
    if bound is None or _holds_after_holm(strong, bound):
        return ""
    return f", the best of {len(strong)} augmentations and with Holm's correction undecided"


def describe(row: AgainstWhole) -> str:
    """An arm beside the whole budget, with its numbers."""
    arm, whole = row.arm, row.whole
    flops = "" if row.flops_fraction is None else f", with {row.flops_fraction:.2f} of the FLOPs"
    return (
        f"{arm.cell.augmentation} at budget {arm.cell.budget:g} ({arm.method}) reaches {_mean(arm)}, "
        f"{wording.difference(row.difference)} against {_mean(whole)} of {whole.cell.augmentation} at budget "
        f"{whole.cell.budget:g} ({whole.method}){flops}."
    )


def _holds_after_holm(strong: Sequence[AgainstWhole], bound: float) -> bool:
    return holm([welch(row.arm.accuracies, row.whole.accuracies, bound).p for row in strong])[0] < ALPHA


def _mean(arm: Arm) -> str:
    assert arm.interval is not None
    return wording.percent(arm.interval.value)


def _better_baseline(arms: dict[str, Arm], study: StudyFacts) -> Arm | None:
    return better_of(arm for name, arm in arms.items() if name in study.baselines)
