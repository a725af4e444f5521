"""The formula of likely wrong labels, by hand."""

import numpy as np
import pytest

from training.inspect.mislabelled import suspicion

# Class 0: four images with an error of 0.2 and one with 0.9 (mean 0.34, deviation 0.28). Class 1: two errors of 0.5.
LABELS = np.array([0, 0, 0, 0, 0, 1, 1])
P_LABEL = np.array([0.9, 0.7, 0.6, 0.3, 0.2, 0.9, 0.3], np.float32)
P_RIVAL = np.array([0.1, 0.2, 0.3, 0.6, 0.6, 0.1, 0.7], np.float32)
ERROR = np.array([0.2, 0.2, 0.2, 0.2, 0.9, 0.5, 0.5], np.float32)
ODD = np.arange(7) == 4


def test_a_likely_rival_and_an_unusual_error_speak_against_a_label():
    found = suspicion(LABELS, P_LABEL, P_RIVAL, ERROR)
    assert found == pytest.approx([0, 0, 0, 0, 0.9 * 0.6 / 0.8, 0, 0])


def test_neither_is_enough_alone():
    assert not suspicion(LABELS, P_LABEL, np.where(ODD, 0.09, P_RIVAL), ERROR).any()
    assert not suspicion(LABELS, P_LABEL, P_RIVAL, np.where(LABELS == 0, 0.4, ERROR)).any()


def test_a_rival_half_as_likely_is_enough():
    assert suspicion(LABELS, P_LABEL, np.where(ODD, 0.1, P_RIVAL), ERROR)[4] == pytest.approx(0.9 / 3)


def test_without_a_visit_the_answer_stands_alone():
    assert suspicion(LABELS, P_LABEL, P_RIVAL, np.where(ODD, np.nan, ERROR))[4] == pytest.approx(0.8 * 0.6 / 0.8)


def test_a_class_without_images_and_one_with_a_single_image():
    found = suspicion(np.array([2, 0]), np.full(2, 0.1), np.full(2, 0.9), np.array([0.9, 0.9]))
    assert found.tolist() == [0, 0]
