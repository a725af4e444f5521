"""InfoBatch as a method: what it leaves out, until when, and which epochs it refuses."""

import numpy as np
import pytest

from tests.training.methods.toy import made, make_run, snapshot, train

KNOWN = snapshot(200)


def test_an_epoch_is_all_samples_but_part_of_the_easy_ones():
    method, easy = made("infobatch"), KNOWN.loss < KNOWN.loss.mean()
    plan = method.plan(1, KNOWN)
    assert len(plan) == (200 - easy.sum() * 0.5) // 10 * 10, "half of the easy ones, cut to whole batches"
    assert set(plan.weights[easy[plan.ids]]) == {2.0}
    assert set(plan.weights[~easy[plan.ids]]) == {1.0}
    assert len(method.plan(0)) == 200, "all are trained on while nothing is known"


def test_none_is_left_out_at_the_end():
    method = made("infobatch", prune_until=0.5)
    lengths = [len(method.plan(1, KNOWN, progress)) for progress in (0, 0.49, 0.5, 1)]
    assert lengths[0] == lengths[1] < 200
    assert lengths[2:] == [200, 200]


def test_the_epochs_of_a_run_stand_for_all_samples():
    run = make_run("infobatch", lr=0.1)
    train(run, 3)
    assert run.ledger.covered_samples == 3600
    assert 0 < run.ledger.saved_fraction == 1 - run.ledger.samples / 3600 < 0.4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prune_until": 1.5}, r"prune_until is at least 0 and at most 1, got 1\.5"),
        ({"prune_ratio": 1.0}, "0 <= ratio < 1"),
        ({"budget_unit": "epochs", "epoch_fraction": 0.5}, "leave epoch_fraction out"),
    ],
)
def test_options_that_cannot_work(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made("infobatch", **changes)


def test_within_a_core_set_an_epoch_is_the_core_set():
    ids = np.arange(0, 200, 4)
    plan = made("infobatch", subset=ids).plan(0)
    assert sorted(plan.ids) == ids.tolist()
