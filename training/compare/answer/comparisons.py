"""A method beside the better baseline of its cell: who wins, and which comparisons say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from training.compare.answer.arms import Arm, Cell, better_of
from training.compare.answer.statistics import ALPHA, Difference, equivalence, holm, welch

FLOPS_TOLERANCE = 0.02
"""Methods whose FLOPs differ by more than this fraction are not compared."""

ONE_SEED = "one seed"


@dataclass(frozen=True)
class Comparison:
    """A method beside the better baseline of its cell.

    Attributes:
        arm: the runs of the method.
        baseline: those of the better baseline; None where the cell has none.
        difference: accuracy of the method less that of the baseline, by Welch; None where a side has no finished run.
        p_holm: its p-value, corrected for the number of methods that are compared in the cell.
        p_equivalence: of the equivalence test.
        left_out: why no verdict uses the comparison, in a few words; "" where they do.
        detail: the same with its numbers.
    """

    arm: Arm
    baseline: Arm | None
    difference: Difference | None = None
    p_holm: float = 1.0
    p_equivalence: float = 1.0
    left_out: str = ""
    detail: str = ""

    @property
    def wins(self) -> bool:
        """The interval of the difference lies above 0, and no run of the method failed."""
        return self._counts and self.difference is not None and self.difference.low > 0 and not self.arm.num_failed

    @property
    def wins_after_holm(self) -> bool:
        """The same with the corrected p-value."""
        return self.wins and self.p_holm < ALPHA

    @property
    def loses(self) -> bool:
        """The interval of the difference lies below 0, and no run of the baseline failed."""
        below = self.difference is not None and self.difference.high < 0
        return self._counts and below and not self._baseline_failed

    @property
    def loses_after_holm(self) -> bool:
        """The same with the corrected p-value."""
        return self.loses and self.p_holm < ALPHA

    @property
    def is_equivalent(self) -> bool:
        """The difference is smaller than the margin, by the equivalence test, and no run failed."""
        return self._counts and self.p_equivalence < ALPHA and not self.has_failed

    @property
    def has_failed(self) -> bool:
        """A run of the method or of the baseline failed: those that are left flatter it."""
        return bool(self.arm.num_failed or self._baseline_failed)

    @property
    def result(self) -> str:
        """In a word or two."""
        if self.left_out:
            return "left out"
        if self.wins:
            return "wins"
        if self.loses:
            return "loses"
        if self.has_failed:
            return "failed"
        return "equivalent" if self.is_equivalent else "unclear"

    @property
    def _baseline_failed(self) -> bool:
        return self.baseline is not None and self.baseline.num_failed > 0

    @property
    def _counts(self) -> bool:
        return not self.left_out


def compare(arms: dict[str, Arm], baselines: Sequence[str], margin: float) -> list[Comparison]:
    """Each method of a cell that is no baseline, beside the better baseline.

    The better one is the one with the larger mean, which favours it a little: a method that wins has beaten both.

    Args:
        arms: of one cell, by method.
        margin: of the equivalence test, in accuracy.
    """
    baseline = better_of(arm for name, arm in arms.items() if name in baselines)
    found = [beside(arm, baseline, margin) for name, arm in arms.items() if name not in baselines]
    return _corrected(found)


def beside(arm: Arm, baseline: Arm | None, margin: float) -> Comparison:
    """One method beside one baseline; p-values are not corrected."""
    if baseline is None:
        return Comparison(arm, None, left_out="no baseline", detail="no run of a baseline to compare with")
    if not arm.accuracies:
        return Comparison(arm, baseline)
    difference = welch(arm.accuracies, baseline.accuracies)
    p_equivalence = equivalence(arm.accuracies, baseline.accuracies, margin)
    left_out, detail = _why_left_out(arm, baseline)
    return Comparison(arm, baseline, difference, difference.p, p_equivalence, left_out, detail)


def compare_all(cells: dict[Cell, dict[str, Arm]], baselines: Sequence[str], margin: float) -> list[Comparison]:
    """The comparisons of all cells."""
    return [one for arms in cells.values() for one in compare(arms, baselines, margin)]


def _why_left_out(arm: Arm, baseline: Arm) -> tuple[str, str]:
    silent = arm.did_not_choose
    if silent:
        return "did not choose", f"{len(silent)} of {len(arm.finished)} runs did not choose: {silent[0]}"
    flops, wanted = arm.mean_of("flops"), baseline.mean_of("flops")
    if flops is None or not wanted:
        return "unknown FLOPs", "its runs or those of the baseline do not tell their FLOPs"
    if abs(flops / wanted - 1) > FLOPS_TOLERANCE:
        what = f"{flops / wanted:.2f} times the FLOPs of {baseline.method}, scoring included"
        return "other FLOPs", f"{what}: not a comparison at equal FLOPs"
    if min(len(arm.accuracies) + arm.num_failed, len(baseline.accuracies)) < 2:
        return ONE_SEED, "fewer than two seeds, so no interval"
    return "", ""


def _corrected(comparisons: Iterable[Comparison]) -> list[Comparison]:
    comparisons = list(comparisons)
    judged = [one for one in comparisons if not one.left_out and one.difference is not None]
    p_values = dict(zip(map(id, judged), holm([one.p_holm for one in judged]), strict=True))
    return [replace(one, p_holm=p_values.get(id(one), one.p_holm)) for one in comparisons]
