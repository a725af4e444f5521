"""The ledger counts what happened."""

import pytest
import torch

from training.ledger import Flops, Ledger, count_flops


def test_steps_samples_and_passes():
    ledger = Ledger()
    ledger.add_step(3, 3, flops_per_sample=10.0)
    ledger.add_step(2, 4, flops_per_sample=10.0)  # four went through the network, two were descended on
    counts = ("steps", "samples", "forward_samples", "backward_samples", "flops")
    assert [ledger.summary()[name] for name in counts] == [2, 5, 7, 7, 70.0]


def test_scoring_is_forward_passes_alone():
    ledger = Ledger()
    ledger.add_scoring(6, flops_per_sample=2.0)
    counts = ("steps", "samples", "forward_samples", "backward_samples", "flops")
    assert [ledger.summary()[name] for name in counts] == [0, 0, 6, 0, 12.0]


def test_a_core_set_is_charged_but_its_time_is_not_that_of_training_images():
    ledger = Ledger()
    ledger.charge(forward_samples=7, backward_samples=5, flops=40.0, seconds=3.0)
    ledger.add_step(10, 10, flops_per_sample=1.0)
    ledger.train_seconds += 2.0
    summary = ledger.summary()
    assert (summary["forward_samples"], summary["backward_samples"], summary["flops"]) == (17, 15, 50.0)
    assert (summary["coreset_flops"], summary["coreset_seconds"], summary["train_seconds"]) == (40.0, 3.0, 5.0)
    assert summary["images_per_second"] == 10 / 2.0


def test_what_infobatch_saves():
    ledger = Ledger()
    assert ledger.saved_fraction == 0
    ledger.add_step(75, 75, 1.0)
    ledger.covered_samples = 100.0
    assert ledger.saved_fraction == 0.25


def test_clock_adds_up_also_when_the_block_fails():
    ledger = Ledger()
    with pytest.raises(KeyError), ledger.clock("plan"):
        raise KeyError
    first = ledger.plan_seconds
    with ledger.clock("plan"):
        pass
    assert 0 < first < ledger.plan_seconds


def test_timed_items_come_unchanged_and_only_making_them_counts(monkeypatch):
    """One second passes while an item is made, a hundred while it is used."""
    now, ledger = [0.0], Ledger()
    monkeypatch.setattr("training.ledger.time.perf_counter", lambda: now[0])

    def made():
        for item in ("a", "b"):
            now[0] += 1
            yield item

    got = []
    for item in ledger.timed("data", made()):
        got.append(item)
        now[0] += 100
    assert got == ["a", "b"]
    assert ledger.data_seconds == 2


def test_state_comes_back_through_a_file(tmp_path):
    ledger, other = Ledger(), Ledger()
    ledger.add_step(2, 2, 7.0)
    torch.save(ledger.state_dict(), tmp_path / "ledger")
    other.load_state_dict(torch.load(tmp_path / "ledger", weights_only=True))
    for one in (ledger, other):
        one.add_step(2, 2, 7.0)
    assert other.summary() == ledger.summary()
    assert other.steps == 2


def test_flops_against_a_count_by_hand():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    counted = count_flops(model, (3, 6, 6))
    conv, linear = 2 * 3 * 9 * 8 * 36, 2 * 8 * 36 * 10
    # the first layer needs no gradient of the images
    assert counted == Flops(forward=conv + linear, step=2 * conv + 3 * linear)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
