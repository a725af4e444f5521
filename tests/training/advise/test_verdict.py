"""The answer: a winner is named, overlaps are refused, and what speaks against the answer is said."""

import dataclasses

import pytest

from training.advise.arms import Arm, make_arms
from training.advise.curve import Curve, Expected
from training.advise.figure import draw
from training.advise.look import Look
from training.advise.verdict import Question, judge
from training.compare.outcome import Outcome

QUESTION = Question(budget=0.3, visits=60, num_held_out=400, minutes=6)
CALM = Look(tau=1.4, label_noise=0.02, duplicates=0.0, accuracy=0.9)


def arm(augmentation, accuracy, half, method="scan", **others) -> Arm:
    """An arm whose curve ends at an accuracy with an interval of `half` on each side, a run's being twice as wide."""
    expected = Expected(accuracy, accuracy - half, accuracy + half, accuracy - 2 * half, accuracy + 2 * half)
    drop = others.pop("drop", 0.1)
    curve = Curve(accuracy + drop, drop, 1.0, 60.0)
    return Arm(augmentation, method, (7.5, 15, 30), (0.4, 0.5, 0.55), curve=curve, expected=expected, **others)


def test_an_arm_above_all_others_is_named():
    arms = [arm("standard", 0.5, 0.01), arm("RICAP", 0.6, 0.01), arm("RICAP", 0.5, 0.02, "p-sgd sharp")]
    verdict = judge(QUESTION, arms, CALM)
    assert (verdict.kind, verdict.best, verdict.rivals) == ("arm", arms[1], ())
    assert verdict.sentences[0].startswith("Use RICAP with scan: expect 60.00 % ± 2.00 with budget 0.3 (60.0 visits")
    assert "Choosing samples (p-sgd sharp, not scan) changes that by −10.00 points: it hurts." in verdict.sentences


def test_overlapping_intervals_are_refused_with_what_would_tell_them_apart():
    arms = [arm("standard", 0.5, 0.005), arm("RICAP", 0.59, 0.01), arm("mixup", 0.6, 0.02)]
    verdict = judge(QUESTION, arms, CALM)
    assert (verdict.kind, verdict.best, verdict.rivals) == ("open", arms[2], (arms[1],))
    first = verdict.sentences[0]
    assert "Use" not in first
    assert "mixup with scan (58.0 to 62.0 %) and RICAP with scan (58.0 to 60.0 %) overlap" in first
    assert "Ruled out: standard with scan." in first
    assert (
        "1.00 points apart, and about 9.0 times as many pilots would tell them from each other, such as --minutes 54."
        in first
    )


def test_equal_arms_are_not_worth_more_pilots():
    verdict = judge(QUESTION, [arm("RICAP", 0.6, 0.005), arm("mixup", 0.6, 0.006)], CALM)
    assert verdict.kind == "open"
    told = "0.00 points apart, and with 95 % certainty less than 1 point: as good as equal, take either."
    assert told in verdict.sentences[0]
    near = judge(QUESTION, [arm("RICAP", 0.592, 0.005), arm("mixup", 0.6, 0.006)], CALM).sentences[0]
    assert "0.80 points apart" in near
    assert "equal" not in near, "they may be 1.6 points apart"
    wide = judge(QUESTION, [arm("RICAP", 0.6, 0.1), arm("mixup", 0.6, 0.1)], CALM).sentences[0]
    assert "by intervals of ± 10.0 points: more seeds narrow these, so give more --minutes." in wide
    far = judge(dataclasses.replace(QUESTION, visits=120), [arm("RICAP", 0.6, 0.1), arm("mixup", 0.6, 0.1)], CALM)
    assert "larger pilots would narrow these most" in far.sentences[0]


def test_an_augmentation_is_named_where_only_its_methods_cannot_be_told_apart():
    arms = [arm("standard", 0.5, 0.01), arm("RICAP", 0.6, 0.02), arm("RICAP", 0.61, 0.02, "p-sgd sharp")]
    verdict = judge(QUESTION, arms, CALM)
    assert (verdict.kind, verdict.best, verdict.rivals) == ("augmentation", arms[1], (arms[2],))
    assert "p-sgd sharp cannot be told apart from it, so the simpler method will do" in verdict.sentences[0]


def test_what_touches_is_an_overlap():
    assert judge(QUESTION, [arm("RICAP", 0.75, 0.125), arm("mixup", 0.5, 0.125)], CALM).kind == "open"


def test_the_data_speaks_against_choosing():
    text = " ".join(judge(QUESTION, [arm("RICAP", 0.6, 0.01)], Look(1.1, 0.2, 0.5, 0.4)).sentences)
    assert "tau is below 1.2" in text
    assert "More than 10 % of the labels look wrong" in text
    assert "So many near duplicates" in text
    assert "right on 40.0 % of the held-out images only, too few to find wrong labels" in text
    calm = " ".join(judge(QUESTION, [arm("RICAP", 0.6, 0.01)], CALM).sentences)
    assert "tau is 1.40, 2.0 % of the labels look wrong" in calm
    assert "below 1.2" not in calm
    assert "More than" not in calm
    assert "too few to find wrong labels" not in calm


def test_a_far_extrapolation_is_said():
    far = Question(0.3, 300, 400, None)
    assert "more than 8 times" in " ".join(judge(far, [arm("RICAP", 0.6, 0.01)], CALM).sentences)
    near = " ".join(judge(QUESTION, [arm("RICAP", 0.6, 0.01)], CALM).sentences)
    assert "the planned run has 2.0 times as many." in near


def test_where_the_curves_cross_is_told():
    """0.7 - 6 / v and 0.6 - 3 / v: equal at 30 visits."""
    steep, flat = arm("RICAP", 0.6, 0.01, drop=0.1), arm("standard", 0.55, 0.01, drop=0.05)
    sentences = judge(QUESTION, [flat, steep], CALM).sentences
    assert "Below about 29.9 visits per sample, standard with scan does better." in sentences


def test_nothing_is_recommended_without_curves():
    arms = [Arm("standard", "scan", (), (), num_failed=6)]
    verdict = judge(QUESTION, arms, CALM)
    assert (verdict.kind, verdict.best) == ("none", None)
    assert "6 pilots of standard with scan diverged" in " ".join(verdict.sentences)


def outcome(method, budget, accuracy, **summary) -> Outcome:
    return Outcome("", method, "standard", "", "main", budget, 0, "finished", "", accuracy, summary)


def test_pilots_that_diverged_or_did_not_choose_are_counted_and_left_out():
    outcomes = [
        outcome("scan", budget, accuracy, samples=9000 * budget)
        for budget, accuracy in ((0.1, 0.5), (0.2, 0.6), (0.4, 0.65), (0.4, 0.66), (0.2, None))
    ]
    outcomes += [outcome("p-sgd sharp", 0.1, 0.5, samples=900, did_not_choose="drew uniformly")]
    scan, sharp = make_arms(outcomes, 900, 8.0)
    assert scan.visits == pytest.approx((1, 2, 4, 4))
    assert (scan.num_failed, scan.num_idle, len(scan.accuracies)) == (1, 0, 4)
    assert scan.expected.low < scan.expected.accuracy < scan.expected.high
    assert (sharp.num_idle, sharp.visits, sharp.expected) == (1, (), None)


def test_the_figure_is_drawn_whatever_is_known(tmp_path):
    arms = [arm("standard", 0.5, 0.01), arm("$x", 0.6, 0.01, "p-sgd sharp"), Arm("RICAP", "scan", (1.0,), (0.3,))]
    draw(tmp_path / "advice.png", QUESTION, arms, "Undecided: 50 % of $x and $y")
    draw(tmp_path / "none.png", QUESTION, [Arm("standard", "scan", (), ())], "No answer")
    assert (tmp_path / "advice.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "none.png").stat().st_size > 1000
