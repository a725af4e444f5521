"""TensorBoard event files are optional."""

import importlib.util

import pytest

from training.report import tensorboard as events
from training.run import main

has_tensorboard = importlib.util.find_spec("tensorboard") is not None


def test_a_missing_package_is_one_sentence(quick_args, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(events.importlib.util, "find_spec", lambda name: None)
    assert main(quick_args(out=tmp_path / "run", tensorboard="true")) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --tensorboard needs the package tensorboard")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not has_tensorboard, reason="needs the extra rebar-loaders[tensorboard]")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_event_file_with_the_rows(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with events.event_writer(tmp_path, 0) as write:
        write({"epoch": 1, "train_loss": 2.0, "test_accuracy": None})
        write({"epoch": 2, "train_loss": 1.0, "test_accuracy": 0.5})
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("train_loss")] == [(1, 2.0), (2, 1.0)]
    assert [event.step for event in read.Scalars("test_accuracy")] == [2]
