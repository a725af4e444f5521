"""Which pilots are made, and what the data says: pure functions of the question and a calibration."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from training.advise.look import describe_look
from training.advise.options import parse_options
from training.advise.pilots import AUGMENTATIONS, Design, Speed, choose_design, designs, look_cell, study_values
from training.compare.study import make_study
from training.settings_file import read_yaml

OPTIONS = parse_options(["--data=d", "--budget=0.4", "--minutes=10", "--epochs", "100", "--batch_size=10"])


def speed(seconds: float, overhead: float = 0.0) -> Speed:
    """A machine on which a pilot of budget 1 takes that long."""
    return Speed(dict.fromkeys(AUGMENTATIONS, 1e9 / seconds), overhead, 1e9)


def cells(design: Design, options=OPTIONS):
    return make_study(study_values(options, design.grids(options.budget))).cells


def test_pilots_are_whole_runs_of_fewer_epochs_tested_on_what_is_held_out():
    found = cells(Design(1 / 2, 2, "all"))
    assert len(found) == 4 * 5 * 2 * 2
    assert sorted({cell.config.budget for cell in found}) == pytest.approx([0.025, 0.05, 0.1, 0.2])
    assert {cell.config.epoch_fraction for cell in found} == {0.4}
    assert {cell.config.validation for cell in found} == {0.1}
    assert {cell.config.lr_schedule for cell in found} == {"linear"}
    assert {(cell.config.mixer, cell.config.randaugment) for cell in found} == {
        ("none", None), ("ricap", None), ("mixup", None), ("cutmix", None), ("none", (2, 9)),
    }  # fmt: skip
    look = look_cell(make_study(study_values(OPTIONS, Design(1 / 2, 2, "all").grids(0.4))))
    assert (look.method, look.augmentation, look.config.seed) == ("scan", "standard", 0)
    assert look.config.budget == pytest.approx(0.2)


@pytest.mark.parametrize("choosing", ["all", "standard", "none"])
def test_the_study_file_can_be_read_back(choosing, tmp_path):
    values = study_values(OPTIONS, Design(1 / 2, 2, choosing).grids(0.4))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert read_yaml(tmp_path / "study.yaml") == values


def test_settings_of_an_augmentation_are_for_it_alone():
    options = parse_options(["--data=d", "--budget=0.4", "--randaugment", "2", "4", "--mixer_alpha=0.3"])
    by_name = {cell.augmentation: cell.config for cell in cells(Design(1 / 2, 1, "none"), options)}
    assert by_name["RandAugment"].randaugment == (2, 4)
    assert by_name["RICAP"].mixer_alpha == by_name["mixup"].mixer_alpha == 0.3
    assert by_name["standard"].mixer_alpha is None


@pytest.mark.parametrize(("choosing", "arms"), [("all", 10), ("standard", 6), ("none", 5)])
def test_the_time_is_that_of_all_pilots_and_of_the_look(choosing, arms):
    """Budgets of 0.2 and its half, quarter and eighth: 0.375 an arm and seed."""
    design = Design(1 / 2, 3, choosing)
    assert len(cells(design)) == 3 * 4 * arms
    expected = 3 * arms * (0.375 * 10 + 4 * 7) / 2 + 0.2 * 10 + 7
    assert design.seconds(0.4, speed(10.0, overhead=7.0), num_workers=2) == pytest.approx(expected)


def test_more_minutes_give_larger_pilots_then_more_seeds():
    candidates = [*designs(OPTIONS, 1000)]
    taken = []
    for minutes in (0.5, 1, 2, 4, 8, 16, 32):
        options = dataclasses.replace(OPTIONS, minutes=minutes)
        design, seconds = choose_design(options, candidates, speed(30.0), num_workers=2)
        assert seconds <= 60 * minutes
        taken.append((design.largest, design.seeds))
    assert taken == sorted(taken)
    assert taken[0][0] < 1 / 2
    assert taken[-1] == (1 / 2, 12)


def test_without_minutes_all_pilots_are_made_with_three_seeds():
    options = dataclasses.replace(OPTIONS, minutes=None)
    design, _ = choose_design(options, [*designs(options, 1000)], speed(1e5), num_workers=2)
    assert design == Design(1 / 2, 3, "all")


def test_too_few_minutes_are_refused_with_how_many_it_takes():
    options = dataclasses.replace(OPTIONS, minutes=0.5)
    with pytest.raises(ValueError, match=r"--minutes 0\.5 is too short: .* take about [\d.]+ minutes") as refused:
        choose_design(options, [*designs(options, 1000)], speed(1000.0), num_workers=2)
    minutes = float(re.findall(r"about ([\d.]+) minutes", str(refused.value))[0])
    options = dataclasses.replace(OPTIONS, minutes=minutes + 0.1)
    assert choose_design(options, [*designs(options, 1000)], speed(1000.0), num_workers=2)[0].largest == 1 / 32


def test_nothing_is_chosen_where_an_epoch_takes_all():
    options = dataclasses.replace(OPTIONS, budget=1.0)
    found = [*designs(options, 1000)]
    assert {design.choosing for design in found} == {"none"}
    assert {cell.method for cell in cells(found[0], options)} == {"scan"}


def test_pilots_have_steps_to_learn_from():
    short = dataclasses.replace(OPTIONS, settings={"epochs": 10, "batch_size": 100})
    with pytest.raises(ValueError, match=r"10 epochs at a budget of 0\.4 are 40 steps"):
        [*designs(short, 1000)]
    assert {design.largest for design in designs(short, 4100)} == {1 / 2}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budget=0.3"], "--data"),
        (["--data=d", "--budget=1.5"], "--budget must be above 0 and at most 1, got 1.5"),
        (["--data=d", "--budget=0.3", "--minutes=0"], "--minutes must be above 0, got 0"),
        (["--data=d", "--budget=0.3", "--validation=0"], "the test set stays untouched"),
        (["--data=d", "--budget=0.3", "--method=p-sgd"], "--method is not for advise"),
        (["--data=d", "--budget=0.3", "--workers=0"], "--workers must be at least 1, got 0"),
        (["d", "--data=d", "--budget=0.3"], "'d' is no option"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_sentence(words, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_options(words)


def test_the_folder_is_named_after_the_data():
    assert OPTIONS.folder == Path("advice/d")


def test_the_look_counts_wrong_labels_copies_and_uneven_errors():
    nan = np.nan
    el2n = np.array([1.0, 3, 1, 3, nan, nan, nan, nan, nan, nan])
    found = describe_look(el2n, np.array([0.5, 0.1] + [0.0] * 8), np.array([0, 0, 0, -1, 4, 4, -1, -1, -1, -1]), 0.7)
    assert found.tau == pytest.approx(np.sqrt(1 + 1 / 4))
    assert (found.label_noise, found.duplicates, found.accuracy) == (0.2, 0.3, 0.7)
