"""The rules of both claims and of the controls, on outcomes whose effects are known."""

from dataclasses import replace

import pytest

from tests.training.compare.synthetic import controls, facts, failed, grid, null, run, runs, spends
from training.compare.answer.augmenting import MAINTAINS, SURPASSES
from training.compare.answer.choosing import NO_EFFECT, NO_HARM
from training.compare.answer.claims import judge

pytest.importorskip("scipy", reason="needs the extra rebar-loaders[study]")


def answer(outcomes, **changes):
    return judge(facts(outcomes, **changes), outcomes)


def decisions(found):
    """Claim 1 over all methods under "", and by method."""
    return {one.about: one.decision for one in found.choosing}


def better(method: str, by: float, where=lambda augmentation, budget: True):
    """The null with one method better, where it says."""
    return lambda name, augmentation, budget: (
        null(name, augmentation, budget) + (by if name == method and where(augmentation, budget) else 0)
    )


# Claim 1


def test_no_effect_supports_claim_1():
    found = answer(grid(null) + controls())
    assert decisions(found) == dict.fromkeys(("", "p-sgd", "p-sgd sharp", "infobatch"), "supported")
    assert found.sentences[0].startswith("Choosing samples does not pay: no method won consistently; 18 comparisons")
    assert "18 equivalent within ±1 point" in found.choosing[0].sentence
    assert found.notes == ()


def test_one_method_that_wins_everywhere_refutes_it():
    found = answer(grid(better("infobatch", 0.03)) + controls())
    assert decisions(found) == {
        "": "refuted",
        "p-sgd": "supported",
        "p-sgd sharp": "supported",
        "infobatch": "refuted",
    }
    assert found.sentences[0].startswith("Choosing samples pays: infobatch won in 6 of 6 comparisons; 18 comparisons")


@pytest.mark.parametrize(
    ("wins_at", "decision"),
    [
        (lambda augmentation, budget: augmentation != "RICAP" or budget == 0.1, "refuted"),  # 5 of 6 cells
        (lambda augmentation, budget: augmentation != "RICAP", "undecided"),  # 4 of 6
        (lambda augmentation, budget: budget == 0.1, "supported"),  # 3 of 6, half of them
    ],
)
def test_consistent_is_four_fifths_of_the_cells(wins_at, decision):
    found = answer(grid(better("p-sgd", 0.03, wins_at)) + controls())
    assert decisions(found)[""] == decision
    # Half of the cells are equivalent, which is not most of them.
    assert decisions(found)["p-sgd"] == ("undecided" if decision == "supported" else decision)


def test_a_method_must_beat_the_better_baseline():
    def accuracy(method, augmentation, budget):
        return null(method, augmentation, budget) + {"scan": 0.03, "p-sgd": 0.03}.get(method, 0)

    assert decisions(answer(grid(accuracy)))["p-sgd"] == "supported"


def test_a_method_that_loses_does_not_win_consistently():
    found = answer(grid(better("p-sgd", -0.05)))
    assert decisions(found)["p-sgd"] == "supported"
    assert found.choosing[1].sentence == "6 comparisons: no win and 6 losses; −5.00 points."


def test_too_much_noise_leaves_it_undecided():
    assert decisions(answer(grid(null, sd=0.03)))[""] == "undecided"


def test_holm_is_told_where_it_changes_the_verdict():
    # t = 2.5 with 8 degrees of freedom: p = 0.037, three methods: 0.11.
    outcomes = grid(better("p-sgd", 2.5 * 0.004 * (2 / 5) ** 0.5))
    found = answer(outcomes)
    assert found.choosing[1].decision == "refuted"
    assert found.choosing[1].sentence.endswith("With Holm's correction for the number of methods: undecided.")
    assert "6 wins (0 by Holm's test)" in found.choosing[1].sentence
    told = "p-sgd won in 6 of 6 comparisons, but not with Holm's correction for the number of methods; 18 comparisons"
    assert found.sentences[0].startswith(f"Choosing samples pays: {told}")


def test_losses_are_corrected_too():
    found = answer(grid(better("p-sgd", -2.5 * 0.004 * (2 / 5) ** 0.5)))
    assert found.choosing[1].decision == "supported"
    assert found.choosing[1].sentence.startswith("6 comparisons: no win and 6 losses (0 by Holm's test)")
    assert found.choosing[1].sentence.endswith("With Holm's correction for the number of methods: undecided.")


def test_one_seed_decides_nothing():
    found = answer(grid(better("p-sgd", 0.2), num_seeds=1))
    assert set(decisions(found).values()) == {"undecided"}
    assert all(one.sentence.startswith("Undecided: one seed.") for one in found.choosing)
    assert all(one.decision == "undecided" for one in found.augmenting)
    assert found.left_out == ("18 comparisons with fewer than two seeds.",)


def test_a_failed_run_cannot_win_nor_be_equivalent():
    outcomes = grid(better("p-sgd", 0.03), augmentations=("standard",), budgets=(0.3,))
    spoiled = [failed(one) if (one.method, one.seed) == ("p-sgd", 2) else one for one in outcomes]
    before, after = (answer(some).comparisons[0] for some in (outcomes, spoiled))
    assert (before.result, after.result) == ("wins", "failed")
    assert after.difference.value > 0.02
    found = answer(spoiled)
    assert decisions(found)["p-sgd"] == "undecided"
    assert "1 run failed; they count as outcomes." in found.notes


@pytest.mark.parametrize("mean", [0.5, 0.45])
def test_nothing_is_worse_than_or_equal_to_a_baseline_that_failed(mean):
    """The baseline's runs that are left flatter it."""
    baseline = runs("uniform", 0.5)
    before, after = (
        answer([*some, *runs("p-sgd", mean)]).comparisons[0]
        for some in (baseline, [failed(baseline[0]), *baseline[1:]])
    )
    assert before.result in ("equivalent", "loses")
    assert after.result == "failed"


def test_a_method_all_of_whose_runs_failed_is_an_outcome():
    outcomes = runs("uniform", 0.5) + [failed(one) for one in runs("p-sgd", 0.5)]
    found = answer(outcomes)
    assert [one.result for one in found.comparisons] == ["failed"]
    assert found.choosing[1].sentence == "1 comparison: no win and 1 with a failed run."


@pytest.mark.parametrize(
    ("factor", "result"), [(1.019, "wins"), (0.981, "wins"), (1.03, "left out"), (0.9, "left out")]
)
def test_other_flops_are_named_and_left_out(factor, result):
    outcomes = runs("uniform", 0.5) + runs("scan", 0.5) + spends(runs("selective-backprop", 0.55), factor)
    found = answer(outcomes)
    assert [one.result for one in found.comparisons] == [result]
    if result == "left out":
        assert decisions(found)["selective-backprop"] == "undecided"
        sentence = f"selective-backprop in 1 comparison (standard, budget 0.3): {factor:.2f} times the FLOPs of scan"
        assert found.left_out[0].startswith(sentence) or found.left_out[0].startswith(
            sentence.replace("scan", "uniform")
        )


def test_flops_that_nobody_counted_are_not_equal():
    silent = [replace(one, summary={}) for one in runs("p-sgd", 0.55)]
    assert answer(runs("uniform", 0.5) + silent).comparisons[0].left_out == "unknown FLOPs"


def test_a_method_that_did_not_choose_says_nothing():
    outcomes = runs("uniform", 0.5, budget=1.0) + runs("p-sgd", 0.5, budget=1.0)
    found = answer(outcomes)
    assert [one.left_out for one in found.comparisons] == ["did not choose"]
    assert "5 of 5 runs did not choose: p-sgd draws all 4,000 samples" in found.left_out[0]
    assert found.choosing[0].sentence == "Undecided, no comparison counts: did not choose."


# The controls


def test_controls_come_out_as_they_must():
    found = answer(grid(null) + controls())
    assert [one.decision for one in found.controls] == ["supported", "supported"]
    assert found.controls[0].sentence.startswith("p-sgd sharp wins, as it must: +5.00 points")
    assert found.controls[1].sentence.startswith("p-sgd sharp loses, as it must: −5.00 points")


@pytest.mark.parametrize(
    ("effects", "first"), [((0.0, -0.05), NO_EFFECT), ((-0.05, -0.05), NO_EFFECT), ((0.05, 0.0), NO_HARM)]
)
def test_a_control_that_fails_comes_first_and_empties_a_null_result(effects, first):
    found = answer(grid(null) + controls(*effects))
    assert found.sentences[0].startswith(first)
    assert sum(sentence.startswith((NO_EFFECT, NO_HARM)) for sentence in found.sentences) == 1
    assert decisions(found)[""] == "undecided"
    assert found.choosing[0].sentence.endswith("Supported by the rule, but a control failed.")


def test_a_failed_control_does_not_empty_a_win():
    found = answer(grid(better("infobatch", 0.03)) + controls(0.0))
    assert found.sentences[0].startswith(NO_EFFECT)
    assert decisions(found)["infobatch"] == "refuted"


def test_a_null_result_without_a_positive_control_says_little():
    found = answer(grid(null))
    assert decisions(found)[""] == "supported"
    first = "No method won consistently, which says little without a positive control that came out: 18 comparisons"
    assert found.sentences[0].startswith(first)


def test_a_method_that_always_loses_is_no_negative_control():
    outcomes = [
        *runs("scan", 0.5), *runs("p-sgd", 0.5), *runs("orderdp", 0.45),
        *(one for method, mean in (("scan", 0.4), ("p-sgd", 0.4), ("orderdp", 0.35))
          for one in runs(method, mean, role="negative control", variant="wrong labels")),
    ]  # fmt: skip
    found = answer(outcomes, baselines=("scan",))
    assert [one.decision for one in found.controls] == ["refuted"]
    assert "the nearest is p-sgd" in found.controls[0].sentence
    alone = answer([one for one in outcomes if one.method != "p-sgd"], baselines=("scan",))
    assert alone.controls[0].decision == "undecided"
    assert alone.controls[0].sentence == "Undecided: every method loses where labels are right too."


def test_a_control_that_fails_names_failed_runs():
    spoiled = [failed(one) if (one.method, one.seed) == ("p-sgd sharp", 0) else one for one in controls()]
    found = answer(grid(null) + spoiled)
    assert found.controls[0].decision == "refuted"
    assert "1 of 3 comparisons with a failed run" in found.controls[0].sentence


def test_a_study_of_baselines_alone_does_not_ask_whether_choosing_pays():
    found = answer(runs("uniform", 0.5) + runs("uniform", 0.6, budget=1.0))
    assert (
        found.sentences[0] == "Whether choosing samples pays is not asked here: no method is compared with a baseline."
    )


def test_an_unfinished_control_is_waited_for():
    outcomes = grid(null) + controls(0.0)
    found = answer(outcomes, planned=len(outcomes) + 1)
    assert found.controls[0].decision == "undecided"
    assert not any(NO_EFFECT in sentence for sentence in found.sentences)
    assert found.notes[0] == f"The study is not finished: {len(outcomes)} of {len(outcomes) + 1} cells."


def test_missing_controls_are_a_note():
    assert answer(grid(null)).notes == (
        "No runs of a positive control: where nothing wins, that may also mean that this set-up shows no effect.",
        "No runs of a negative control: nothing shows what wrong labels do to a choice in this set-up.",
    )


# Claim 2


def second(found, variant=""):
    return {one.claim: one.decision for one in found.augmenting if one.about == variant}


@pytest.mark.parametrize(
    ("effect", "maintains", "surpasses"),
    [
        (0.05, "supported", "supported"),
        (0.0, "undecided", "undecided"),
        (-0.05, "refuted", "refuted"),
    ],
)
def test_claim_2(effect, maintains, surpasses):
    outcomes = runs("uniform", 0.5, budget=1.0) + runs("uniform", 0.5 + effect, augmentation="RICAP")
    found = answer(outcomes)
    assert second(found) == {MAINTAINS: maintains, SURPASSES: surpasses}
    assert "with 0.30 of the FLOPs" in found.augmenting[0].sentence


def test_maintaining_is_less_than_surpassing():
    outcomes = runs("uniform", 0.5, budget=1.0, sd=0.0005) + runs("uniform", 0.4999, sd=0.0005, augmentation="RICAP")
    assert second(answer(outcomes)) == {MAINTAINS: "supported", SURPASSES: "undecided"}
    assert (
        answer(outcomes)
        .sentences[-1]
        .startswith("Augmenting does replace budget: RICAP at budget 0.3 maintains standard at")
    )


def test_each_variant_is_judged_for_itself():
    weak, strong = "weight decay 1e-4", "weight decay 5e-4"
    outcomes = [
        *runs("uniform", 0.50, budget=1.0, variant=weak),
        *runs("uniform", 0.55, augmentation="RICAP", variant=weak),
        *runs("uniform", 0.60, budget=1.0, variant=strong),
        *runs("uniform", 0.55, augmentation="RICAP", variant=strong),
    ]
    found = answer(outcomes)
    assert second(found, weak)[SURPASSES] == "supported"
    assert second(found, strong)[MAINTAINS] == "refuted"
    assert "with weight decay 1e-4, RICAP at budget 0.3 surpasses" in found.sentences[-1]
    assert "with weight decay 5e-4, RICAP at budget 0.3 falls short of" in found.sentences[-1]


def test_a_setting_that_is_undecided_contradicts_none():
    outcomes = [
        *runs("uniform", 0.50, budget=1.0, variant="a"),
        *runs("uniform", 0.55, augmentation="RICAP", variant="a"),
        *runs("uniform", 0.50, budget=1.0, variant="b"),
        *runs("uniform", 0.50, augmentation="RICAP", variant="b"),
    ]
    found = answer(outcomes)
    assert found.sentences[-1].startswith("Augmenting does replace budget in 1 of 2 settings, undecided in the rest: ")


def test_the_headline_on_augmenting_bears_holm():
    # t = 2.5 with 8 degrees of freedom, the best of two augmentations: 0.037 becomes 0.074.
    outcomes = [
        *runs("uniform", 0.50, budget=1.0),
        *runs("uniform", 0.50 + 2.5 * 0.004 * (2 / 5) ** 0.5, augmentation="RICAP"),
        *runs("uniform", 0.50, augmentation="mixup"),
    ]
    told = answer(outcomes).sentences[-1]
    assert "RICAP at budget 0.3 surpasses standard at budget 1" in told
    assert told.endswith(", the best of 2 augmentations and with Holm's correction undecided.")


def test_falling_short_of_a_whole_budget_that_failed_is_undecided():
    whole = runs("uniform", 0.5, budget=1.0)
    outcomes = [failed(whole[0]), *whole[1:], *runs("uniform", 0.45, augmentation="RICAP")]
    found = answer(outcomes)
    assert set(second(found).values()) == {"undecided"}
    assert "1 run of the whole budget failed." in found.augmenting[0].sentence


def test_the_best_augmentation_is_judged_and_all_are_shown():
    found = answer(grid(null))
    assert "RICAP at budget 0.3" in found.augmenting[0].sentence
    shown = [row.arm.cell.augmentation for row in found.against_whole[""] if row.arm.method in ("scan", "uniform")]
    assert shown == ["standard", "mixup", "RICAP"]


def test_more_flops_than_the_budget_allows_decide_nothing():
    outcomes = runs("uniform", 0.5, budget=1.0) + spends(runs("uniform", 0.55, augmentation="RICAP"), 1.5)
    assert set(second(answer(outcomes)).values()) == {"undecided"}


def test_another_small_budget_is_taken_where_0_3_was_not_run():
    outcomes = runs("uniform", 0.5, budget=1.0) + runs("uniform", 0.55, augmentation="RICAP", budget=0.5)
    assert "RICAP at budget 0.5 surpasses standard at budget 1" in answer(outcomes).sentences[-1]


# Parts of a grid


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [run()],
        [failed(run())],
        runs("p-sgd", 0.5),
        runs("uniform", 0.5),
        runs("uniform", 0.5) + runs("p-sgd", 0.5, num_seeds=1),
        controls(num_seeds=1),
        grid(null, budgets=(0.3,)),
        grid(null, augmentations=("RICAP",)),
        [failed(one) for one in grid(null, num_seeds=2)],
    ],
)
def test_any_part_of_a_grid_gets_sentences_and_no_verdict_that_it_cannot_have(outcomes):
    found = answer(outcomes, planned=1000)
    assert found.sentences
    assert all(one.decision == "undecided" for one in found.augmenting)
    assert found.notes[0].startswith(f"The study is not finished: {len(outcomes)} of 1,000 cells.")


def test_the_order_of_the_runs_does_not_matter():
    outcomes = grid(null) + controls()
    assert answer(outcomes) == answer(outcomes[::-1])
