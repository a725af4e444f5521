"""The ledger counts what happened."""

import numpy as np
import pytest
import torch

from training.ledger import Ledger, count_flops


def test_steps_samples_and_visits():
    ledger = Ledger(5)
    ledger.add_step(np.array([1, 1, 4]), flops_per_sample=10.0)
    ledger.add_step(np.array([4, 0]), flops_per_sample=10.0)
    summary = ledger.summary()
    assert ledger.visits.tolist() == [1, 2, 0, 0, 2]
    counts = ("steps", "samples", "forward_samples", "backward_samples", "distinct_samples", "flops")
    assert [summary[name] for name in counts] == [2, 5, 5, 5, 3, 50.0]


def test_clock_adds_up_also_when_the_block_fails():
    ledger = Ledger(1)
    with pytest.raises(KeyError), ledger.clock("plan"):
        raise KeyError
    first = ledger.plan_seconds
    with ledger.clock("plan"):
        pass
    assert 0 < first < ledger.plan_seconds


def test_state_comes_back_through_a_file(tmp_path):
    ledger, other = Ledger(3), Ledger(3)
    ledger.add_step(np.array([0, 2]), 7.0)
    torch.save(ledger.state_dict(), tmp_path / "ledger")
    other.load_state_dict(torch.load(tmp_path / "ledger", weights_only=True))
    other.add_step(np.array([2, 2]), 7.0)
    ledger.add_step(np.array([2, 2]), 7.0)
    assert other.summary() == ledger.summary()


def test_flops_against_a_count_by_hand():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    forward, both = count_flops(model, (3, 6, 6))
    conv, linear = 2 * 3 * 9 * 8 * 36, 2 * 8 * 36 * 10
    assert forward == conv + linear
    assert both == 2 * conv + 3 * linear  # the first layer needs no gradient of the images
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
