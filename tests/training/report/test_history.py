"""history.u8: a row for each epoch, in its place."""

import numpy as np

from training.report import history

ERRORS = np.array([[0.0, 0.25, 1.0], [0.5, 0.499, 0.501]], np.float32)
EVERYONE = np.ones(3, bool)


def test_errors_come_back_to_the_nearest_step(tmp_path):
    for epoch, errors in enumerate(ERRORS):
        history.write_epoch(tmp_path, epoch, errors, EVERYONE)
    codes = history.read_history(tmp_path, 2, 3)
    assert np.abs(history.errors(codes) - ERRORS).max() <= 0.5 / 254 + 1e-6
    assert codes[0].tolist() == [1, 65, 255]
    assert codes[1, 0] == history.HALF


def test_an_unvisited_sample_has_no_error(tmp_path):
    history.write_epoch(tmp_path, 0, ERRORS[0], np.array([True, False, True]))
    codes = history.read_history(tmp_path, 1, 3)
    assert codes[0, 1] == 0
    assert np.isnan(history.errors(codes)[0]).tolist() == [False, True, False]


def test_an_epoch_that_is_made_again_replaces_its_row_and_leaves_the_others(tmp_path):
    for epoch in (0, 1, 2, 1):
        history.write_epoch(tmp_path, epoch, ERRORS[epoch % 2], EVERYONE)
    assert (tmp_path / history.FILE).stat().st_size == 9
    codes = history.read_history(tmp_path, 3, 3)
    assert np.array_equal(codes[0], codes[2])
    assert not np.array_equal(codes[0], codes[1])


def test_epochs_before_the_first_row_count_as_not_visited(tmp_path):
    history.write_epoch(tmp_path, 1, ERRORS[0], EVERYONE)
    assert history.read_history(tmp_path, 2, 3)[0].tolist() == [0, 0, 0]


def test_a_history_that_is_not_whole_is_none(tmp_path):
    assert history.read_history(tmp_path, 1, 3) is None
    history.write_epoch(tmp_path, 0, ERRORS[0], EVERYONE)
    assert history.read_history(tmp_path, 2, 3) is None
    assert history.read_history(tmp_path, 0, 3) is None
