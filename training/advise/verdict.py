"""The answer in sentences: an arm whose interval lies above all others', or which arms cannot be told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.advise.arms import Arm
from training.advise.look import Look
from training.advise.pilots import STANDARD
from training.compare.answer.wording import listed, percent, points
from training.compare.study import MARGIN

LEAST_TAU = 1.2  # below, choosing samples is unlikely to pay (Katharopoulos and Fleuret, ICML 2018)
MOST_NOISE = 0.1  # of the labels, above which samples with large errors are not to be trusted
LEAST_ACCURACY = 0.6  # of a network that is asked about labels: 20 % of wrong ones leave a good one with 0.8
MANY_COPIES = 0.1  # of the images
FAR = 8  # times the visits of the largest pilot, beyond which the curves are a guess
MOST_EFFORT = 20  # times as many pilots, more than which nobody makes


@dataclass(frozen=True)
class Question:
    """The run that is planned.

    Attributes:
        budget: fraction of the training set that an epoch uses.
        visits: per sample, of the whole run.
        num_held_out: images that the pilots are tested on.
        minutes: that the pilots were given, or None.
    """

    budget: float
    visits: float
    num_held_out: int
    minutes: float | None


@dataclass(frozen=True)
class Verdict:
    """What is recommended.

    Attributes:
        kind: "arm" is recommended; "augmentation" is, and its methods cannot be told apart; "open": neither is; "none":
            there is no curve.
        best: what to use; where it is open, the arm with the largest expected accuracy.
        rivals: arms that cannot be told apart from it.
        sentences: the answer, then what else one should know.
    """

    kind: str
    best: Arm | None
    rivals: tuple[Arm, ...]
    sentences: tuple[str, ...]

    @property
    def title(self) -> str:
        """The answer in a few words."""
        if self.best is None or self.kind == "none":
            return "No answer"
        if self.kind == "open":
            return f"Undecided: {self.best} cannot be told apart from {len(self.rivals)} others"
        return f"Use {self.best}"


def judge(question: Question, arms: Sequence[Arm], look: Look) -> Verdict:
    """The answer: arms whose 95 % intervals overlap cannot be told apart."""
    known = sorted((arm for arm in arms if arm.expected), key=lambda arm: _expected(arm).accuracy, reverse=True)
    if not known:
        sentence = "No answer: no augmentation has four finished pilots at three budgets, which a curve needs."
        return Verdict("none", None, (), (sentence, *_about_pilots(arms)))
    best, *others = known
    rivals = tuple(arm for arm in others if _expected(arm).high >= _expected(best).low)
    kind = "arm"
    if rivals:
        kind = "augmentation" if {arm.augmentation for arm in rivals} == {best.augmentation} else "open"
    if kind == "augmentation" and not best.is_plain:
        best, rivals = rivals[0], (best, *rivals[1:])
    sentences = [
        _undecided(question, best, rivals, others) if kind == "open" else _answer(question, best, rivals),
        *_about_choosing(best, known, kind),
        *_about_crossing(question, best, known, kind),
        *_about_data(look),
        _about_reach(question, known),
        f"The pilots were tested on {question.num_held_out:,} images held out of the training set: others would move "
        f"all accuracies, mostly together, by up to ± {100 * _sampling(question, best):.1f} points. The test set was "
        "not touched.",
        *_about_pilots(arms),
    ]
    return Verdict(kind, best, rivals, tuple(sentences))


def _expected(arm: Arm):
    assert arm.expected is not None, "an arm without a curve is not compared"
    return arm.expected


def _where(question: Question) -> str:
    return f"budget {question.budget:g} ({question.visits:,.1f} visits per sample)"


def _answer(question: Question, best: Arm, rivals: tuple[Arm, ...]) -> str:
    found = _expected(best)
    half = max(found.run_high - found.accuracy, found.accuracy - found.run_low)
    text = f"Use {best}: expect {percent(found.accuracy)} ± {100 * half:.2f} with {_where(question)}"
    text += " (95 % interval of one run)"
    if rivals:
        text += (
            f"; {listed([arm.method for arm in rivals])} cannot be told apart from it, so the simpler method will do"
        )
    return text + "."


def _undecided(question: Question, best: Arm, rivals: tuple[Arm, ...], others: Sequence[Arm]) -> str:
    """Which arms cannot be told apart, and what would tell the first two."""
    told = [f"{arm} ({_range(arm)})" for arm in (best, *rivals)]
    text = f"Undecided with {_where(question)}: the 95 % intervals of {listed(told)} overlap. "
    ruled_out = [str(arm) for arm in others if arm not in rivals]
    if ruled_out:
        text += f"Ruled out: {listed(ruled_out)}. "
    rival = next(arm for arm in rivals if arm.augmentation != best.augmentation)
    gap = _expected(best).accuracy - _expected(rival).accuracy
    below, above = _expected(best).accuracy - _expected(best).low, _expected(rival).high - _expected(rival).accuracy
    width = below + above
    effort = (width / gap) ** 2 if gap > 0 else math.inf
    apart = f"{best} and {rival} are {100 * gap:.2f} points apart"
    if gap + math.hypot(below, above) <= MARGIN:
        return (
            text + f"{apart}, and with 95 % certainty less than {100 * MARGIN:g} point: as good as equal, take either."
        )
    if effort <= MOST_EFFORT:
        minutes = f", such as --minutes {math.ceil(effort * question.minutes)}" if question.minutes else ""
        return text + f"{apart}, and about {effort:.1f} times as many pilots would tell them from each other{minutes}."
    largest = max(max(arm.visits) for arm in (best, rival))
    remedy = "larger pilots would narrow these most" if question.visits > 2.5 * largest else "more seeds narrow these"
    return text + f"{apart}, by intervals of ± {100 * width / 2:.1f} points: {remedy}, so give more --minutes."


def _range(arm: Arm) -> str:
    return f"{100 * _expected(arm).low:.1f} to {100 * _expected(arm).high:.1f} %"


def _about_choosing(best: Arm, known: Sequence[Arm], kind: str) -> list[str]:
    """Whether choosing samples pays beside the recommended augmentation."""
    found = {arm.is_plain: arm for arm in known if arm.augmentation == best.augmentation}
    if kind == "open" or len(found) < 2:
        return []
    plain, choosing = found[True], found[False]
    gap = _expected(choosing).accuracy - _expected(plain).accuracy
    apart = _expected(choosing).low > _expected(plain).high or _expected(plain).low > _expected(choosing).high
    means = ("it pays" if gap > 0 else "it hurts") if apart else "within the intervals"
    return [f"Choosing samples ({choosing.method}, not {plain.method}) changes that by {points(gap)} points: {means}."]


def _about_crossing(question: Question, best: Arm, known: Sequence[Arm], kind: str) -> list[str]:
    """From how many visits on the recommended augmentation is better than the standard one."""
    standard = next((arm for arm in known if arm.augmentation == STANDARD and arm.method == best.method), None)
    if kind == "open" or standard is None or standard is best or best.curve is None or standard.curve is None:
        return []
    visits = np.geomspace(min(best.visits + standard.visits), question.visits, 500)
    is_worse = best.curve(visits) < standard.curve(visits)
    if not is_worse.any() or is_worse[-1]:
        return []
    crossing = visits[np.flatnonzero(is_worse)[-1]]
    return [f"Below about {crossing:,.1f} visits per sample, {standard} does better."]


def _about_data(look: Look) -> list[str]:
    sentences = [
        f"The data: tau is {look.tau:.2f}, {100 * look.label_noise:.1f} % of the labels look wrong, and "
        f"{100 * look.duplicates:.1f} % of the images nearly repeat another one (look/samples.html shows which)."
    ]
    if look.accuracy < LEAST_ACCURACY:
        sentences.append(
            f"The network that looked is right on {100 * look.accuracy:.1f} % of the held-out images only, too few to "
            "find wrong labels: there may be many more."
        )
    if look.tau < LEAST_TAU:
        sentences.append(
            f"tau is below {LEAST_TAU:g}: the samples' errors are so equal that choosing among them is unlikely to pay."
        )
    if look.label_noise > MOST_NOISE:
        sentences.append(
            f"More than {100 * MOST_NOISE:g} % of the labels look wrong: a method that prefers samples with large "
            "errors visits those most, which is likely to hurt; look at them first."
        )
    if look.duplicates > MANY_COPIES:
        sentences.append(
            "So many near duplicates are a reason to choose samples; some of the held-out images have copies among "
            "those trained on, which flatters all accuracies here."
        )
    return sentences


def _about_reach(question: Question, known: Sequence[Arm]) -> str:
    largest = max(max(arm.visits) for arm in known)
    reach = question.visits / largest
    text = f"The largest pilots had {largest:,.1f} visits per sample; the planned run has {reach:.1f} times as many"
    if reach <= FAR:
        return text + "."
    return text + f", more than {FAR} times: the curves carry so far only as a guess, so give more --minutes."


def _sampling(question: Question, best: Arm) -> float:
    """Half of the 95 % interval of an accuracy from the choice of the held-out images alone."""
    accuracy = _expected(best).accuracy
    return 1.96 * math.sqrt(accuracy * (1 - accuracy) / question.num_held_out)


def _about_pilots(arms: Sequence[Arm]) -> list[str]:
    """What is missing."""
    sentences = [
        f"{arm.num_failed} pilots of {arm} diverged and are not in its curve: its learning rate may be too large."
        for arm in arms
        if arm.num_failed
    ]
    for arm in arms:
        if arm.num_idle:
            sentences.append(
                f"{arm.num_idle} pilots of {arm} drew nearly uniformly, since the errors were nearly equal or the run "
                "too short, and are not in its curve."
            )
        if arm.expected is None:
            sentences.append(f"{arm} has too few pilots for a curve, so it is not compared.")
    return sentences
