"""What a study is said to take."""

import dataclasses

import pytest
from rich.console import Console

from training.arguments import parse_args
from training.compare import forecast
from training.compare.study import make_study
from training.machine.distributed import Ranks
from training.machine.signals import StopRequest
from training.run import run


def test_a_run_is_calibrated_on_the_threads_that_a_worker_has(shapes, monkeypatch):
    """Two processes of one thread each are asked about, not one of two threads."""
    values = {
        "name": "tiny",
        "settings": {"data": str(shapes), "model": "resnet8", "width": 0.25, "batch_size": 50, "backend": "reference"},
        "augmentations": {"mixup": {"mixer": "mixup", "mixer_visits": 40}},
        "methods": {"scan": {}},
        "budgets": [0.5],
        "seeds": 1,
    }
    config = make_study(values).cells[0].config
    monkeypatch.setattr(forecast, "available_cores", lambda: 4)
    real, seen = forecast.run, []

    def run(*arguments):
        seen.append(forecast.torch.get_num_threads())
        return real(*arguments)

    monkeypatch.setattr(forecast, "run", run)
    before = forecast.torch.get_num_threads()
    for num_workers, threads in ((4, 1), (2, 2)):
        assert forecast.calibrate(config, 1, StopRequest(), num_workers) > 0
        assert seen.pop() == threads
    assert forecast.torch.get_num_threads() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"size_schedule": "[8, 8, 20]"},
        {"validation": 0.25, "batch_size": 25},
        {"budget_unit": "flops", "size_schedule": "[8, 8, 20]"},
        {"method": "random-batch", "epochs": 2},
    ],
)
def test_a_run_is_expected_to_cost_what_it_costs(quick_args, tmp_path, changes):
    """To one of its 18 steps: the sizes of the images and those that are held out count, as they do in the run."""
    config = parse_args(quick_args(width=0.25, eval_every=0, **changes))[0]
    folder = dataclasses.replace(config, out=str(tmp_path / "run"))
    summary = run(folder, None, Console(quiet=True), StopRequest(), Ranks())
    expected = forecast.expected_flops(config, forecast.full_flops(config), speed=1.0)
    assert summary["flops"] == pytest.approx(expected, rel=1 / 18)


def test_cells_that_differ_in_their_epochs_are_told_what_each_costs(shapes, monkeypatch, capsys):
    values = {
        "name": "tiny",
        "settings": {"data": str(shapes), "model": "resnet8", "width": 0.25, "batch_size": 50, "backend": "reference"},
        "methods": ["scan"],
        "variants": {"short": {"epochs": 2}, "long": {"epochs": 20}},
        "budgets": [0.5],
        "seeds": 1,
    }
    monkeypatch.setattr(forecast, "calibrate", lambda *arguments: 1e9)
    monkeypatch.setattr(forecast, "full_flops", lambda config: config.epochs * 1e12)
    forecast.forecast([*make_study(values).cells], 1, StopRequest(), Console(width=200))
    told = capsys.readouterr().out
    assert all(row in told for row in ("1.0", "10.0", "11 TFLOP"))
