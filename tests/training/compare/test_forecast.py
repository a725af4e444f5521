"""What a study is said to take."""

from training.compare import forecast
from training.compare.study import make_study
from training.machine.signals import StopRequest


def test_a_run_is_calibrated_on_the_threads_that_a_worker_has(shapes, monkeypatch):
    """Two processes of one thread each are asked about, not one of two threads."""
    values = {
        "name": "tiny",
        "settings": {"data": str(shapes), "model": "resnet8", "width": 0.25, "batch_size": 50, "backend": "reference"},
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
