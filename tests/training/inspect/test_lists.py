"""Which samples each list holds, in which order."""

import numpy as np
import pytest

from training.inspect import lists
from training.inspect.lists import (
    all_lists,
    hardest,
    labels_differ,
    mislabelled,
    most_forgotten,
    near_duplicates,
    never_learned,
)

NAN = np.nan


@pytest.fixture
def values():
    """Eight samples, of which number 7 was never visited."""
    return {
        "id": np.arange(8),
        "label": np.array([0, 0, 1, 1, 0, 1, 0, 1]),
        "guess": np.array([0, 1, 1, 0, 0, 0, 0, 0]),
        "p_label": np.array([0.9, 0.1, 0.8, 0.2, 0.6, 0.05, 0.7, 0.3], np.float32),
        "mean_error": np.array([0.1, 0.9, 0.3, 0.7, 0.5, 0.95, 0.4, NAN], np.float32),
        "epochs": np.array([3, 3, 3, 3, 3, 1, 3, 0]),
        "learned": np.array([1, 0, 2, 0, 1, 0, 1, 0]),
        "forgetting": np.array([0, 0, 1, 0, 1, 0, 2, 0]),
        "mislabelled": np.array([0, 0.7, 0, 0.4, 0, 0.8, 0, 0], np.float32),
        "duplicate_of": np.array([0, -1, 0, -1, 4, -1, 4, 4]),
    }


def test_each_list_by_its_rule(values):
    values["duplicate_of"] = np.array([0, -1, 2, -1, 0, 2, 0, -1])
    found = {found.key: (found.ids.tolist(), found.total) for found in (make(values, 9) for make in MAKERS)}
    assert found == {
        "mislabelled": ([5, 1, 3], 3),
        "duplicates": ([0, 4, 6, 2, 5], 5),
        "never-learned": ([1, 3], 2),
        "forgotten": ([6, 4, 2], 3),
        "hardest": ([5, 1, 3, 4, 6, 2, 0], None),
    }


MAKERS = (mislabelled, near_duplicates, never_learned, most_forgotten, hardest)


def test_groups_whose_labels_differ_come_first_and_stay_whole(values):
    values["label"][7] = 0  # the larger group agrees, the smaller one does not
    assert labels_differ(values).tolist() == [True, False, True, False, False, False, False, False]
    assert near_duplicates(values, 9).ids.tolist() == [0, 2, 4, 6, 7]
    assert near_duplicates(values, 5).ids.tolist() == [0, 2, 4, 6, 7]


def test_no_group_is_cut_by_the_end_of_the_list(values, monkeypatch):
    monkeypatch.setattr(lists, "MOST_OF_A_GROUP", 2)
    values["duplicate_of"] = np.array([0, 0, 0, 3, 3, 5, 5, -1])
    values["label"][:] = 0
    found = {most: near_duplicates(values, most).ids.tolist() for most in (9, 5, 4, 3, 2, 1)}
    assert found[9] == [0, 1, 3, 4, 5, 6], "of the group of three the first two"
    assert found[5] == found[4] == [0, 1, 3, 4]
    assert found[3] == found[2] == found[1] == [0, 1]
    assert near_duplicates(values, 9).total == 7


def test_an_image_is_shown_once(values):
    values["duplicate_of"][:] = -1
    shown = {found.key: found.ids.tolist() for found in all_lists(values, 2)}
    assert shown["mislabelled"] == [5, 1]
    assert shown["never-learned"] == [3]
    assert shown["forgotten"] == [6, 4]
    assert shown["hardest"] == [2, 0]


def test_without_a_history_two_lists_say_why_they_are_missing(values):
    for name in ("epochs", "learned", "forgetting"):
        del values[name]
    missing = {found.key for found in all_lists(values, 3) if found.missing}
    assert missing == {"never-learned", "forgotten"}


def test_one_visit_is_not_enough_for_never(values):
    values["epochs"][:] = 1
    assert "train for longer" in never_learned(values, 3).missing
