"""The schedule ends where the budget does, whatever the unit."""

import numpy as np
import pytest

from training.budget import Budget, make_budget, with_batch_size
from training.config import Config
from training.ledger import Flops, Ledger
from training.report import folder as record
from training.run import main
from training.schedules import Schedule

FLOPS = {None: Flops(3.0, 10.0), 16: Flops(2.0, 4.0), 32: Flops(3.0, 10.0)}


def make(unit: str, budget: float = 0.3, **options) -> Budget:
    config = Config(budget_unit=unit, budget=budget, batch_size=50, epochs=8)
    return make_budget(config, 600, FLOPS, **options)


def spend(budget: Budget, flops: float = 10.0, seconds: float = 1.0) -> list[float]:
    """The progress before each step of a run."""
    ledger, progress = Ledger(), []
    while not budget.is_spent(ledger):
        progress.append(budget.progress(ledger))
        ledger.add_step(50, 50, flops)
        ledger.train_seconds += seconds
    return progress


def test_fractions_of_samples_and_epochs_are_whole_steps():
    assert (make("samples").total_steps, make("samples").num_epochs) == (8 * 3, 8)
    scan = make("epochs")
    assert (scan.total_steps, scan.num_epochs) == (28, 3)  # 2.4 epochs of 12 steps
    for budget in (make("samples"), scan):
        assert spend(budget) == pytest.approx(np.arange(budget.total) / budget.total)


def test_flops_are_those_of_all_epochs_and_never_exceeded():
    budget = make("flops")
    assert (budget.total, budget.total_steps) == (0.3 * 8 * 600 * 10, None)
    assert len(spend(budget)) == 28
    assert spend(budget)[-1] == pytest.approx(27 / 28.8)
    small = spend(budget, flops=4.0)
    assert len(small) == 70  # 200 FLOPs a step; the largest kind of step must still fit
    assert budget.total - 70 * 200 < 500


def test_flops_are_those_of_the_sizes_that_are_shown_and_buy_the_steps_that_samples_do():
    """As many steps of each size: the schedule follows the steps, not what they cost."""
    schedule = Schedule(sizes=(16, 16, 32))
    budget, ledger, progress = make("flops", 0.3125, sizes=schedule.sizes), Ledger(), []
    assert budget.total == 30 * 50 * (4 + 4 + 10) / 3
    while not budget.is_spent(ledger):
        progress.append(budget.progress(ledger))
        ledger.add_step(50, 50, FLOPS[schedule.image_size(progress[-1])].step)
    assert progress == pytest.approx(np.arange(30) / 30)
    assert [schedule.image_size(at) for at in progress] == 20 * [16] + 10 * [32]
    assert ledger.flops == budget.total


def test_scoring_passes_are_charged():
    budget, ledger = make("flops"), Ledger()
    ledger.add_step(50, 50, 10.0)
    ledger.add_scoring(4467, 3.0)
    assert ledger.flops == budget.total - 499
    assert budget.is_spent(ledger)


def test_a_step_must_fit_with_its_scoring():
    budget = make("flops", makes_passes=True)
    assert budget.step_cost == 50 * 13
    ledger = Ledger()
    ledger.flops = budget.total - 649
    assert budget.is_spent(ledger)
    ledger.flops -= 1
    assert not budget.is_spent(ledger)


def test_uneven_epochs_end_behind_the_same_number_of_steps():
    for unit, steps in (("samples", 24), ("epochs", 28)):
        budget = make(unit, even_epochs=False)
        assert (budget.total_steps, budget.num_epochs) == (steps, None)
        assert len(spend(budget)) == steps


def test_seconds_end_before_the_step_that_would_not_fit():
    budget = make("seconds", 9.5)
    assert spend(budget) == pytest.approx(np.arange(9) / 9.5)
    assert len(spend(make("seconds", 0.01))) == 1, "one step is always made"


def test_a_budget_below_one_step_is_refused():
    for unit in ("epochs", "flops"):
        with pytest.raises(ValueError, match="does not pay for one step"):
            make(unit, 0.01)
    with pytest.raises(ValueError, match=r"0\.05 of the samples in each of 8 epochs does not pay for one step"):
        make("samples", 0.05, even_epochs=False)


def test_the_unit_is_in_the_name():
    assert Config(budget=0.3, budget_unit="epochs").run_name == "cifar10-scan-b0.3epochs-s0"


@pytest.mark.parametrize(("unit", "steps"), [("epochs", 13), ("flops", 13), ("seconds", None)])
def test_a_run_ends_at_its_budget(quick_args, tmp_path, unit, steps):
    budget = {"seconds": 0.6}.get(unit, 0.55)
    changes = {"budget": budget, "budget_unit": unit, "epochs": 2, "eval_every": 0, "ema": 0.5}
    assert main(quick_args(out=tmp_path / "run", **changes)) == 0
    summary, rows = record.read_summary(tmp_path / "run"), record.read_rows(tmp_path / "run")
    assert summary["budget_unit"] == unit
    assert rows[-1]["test_accuracy"] == summary["test_accuracy"]
    assert rows[-1]["step"] == summary["steps"]
    if steps:
        assert (summary["steps"], len(rows)) == (steps, 2)
    assert summary["samples"] == 50 * summary["steps"]
    assert np.isfinite([row["train_loss"] for row in rows]).all()


@pytest.mark.parametrize(
    ("given", "num_samples", "num_ranks", "size"),
    [(0, 50_000, 1, 250), (0, 5_000, 1, 250), (0, 600, 1, 30), (0, 600, 4, 28), (0, 30, 1, 2), (250, 600, 1, 250)],
)
def test_a_batch_size_that_is_left_open_fits_the_data(given, num_samples, num_ranks, size):
    assert with_batch_size(Config(batch_size=given), num_samples, num_ranks).batch_size == size
