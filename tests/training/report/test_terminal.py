"""What a person reads while a run goes on."""

import io

import pytest
from rich.console import Console

from training.budget import Budget
from training.ledger import Ledger
from training.report.terminal import clock, meter

ROW = {"epoch": 1, "step": 6, "samples": 300, "train_loss": 2.0, "test_accuracy": None, "train_seconds": 8.0}


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (3, "0:03"), (123, "2:03"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize("terminal", [False, True])
def test_an_epoch_is_one_line_with_the_time_that_is_left(terminal):
    """A core-set's 2 seconds are not spent again: 6 of 18 steps took 6 seconds, the rest will take 12."""
    text, ledger = io.StringIO(), Ledger(steps=6, samples=300)
    console = Console(file=text, force_terminal=terminal, width=200, color_system=None)
    with meter(console, Budget("steps", 18, 6), ledger, lambda progress: progress) as bar:
        bar.advance()
        bar.epoch({**ROW, "coreset_seconds": 2.0})
        ledger.steps = 18
        bar.epoch({**ROW, "epoch": 3, "step": 18, "train_loss": None, "test_accuracy": 0.5, "coreset_seconds": 2.0})
    lines = [line for line in text.getvalue().splitlines() if "step" in line]
    assert len(lines) == 2
    assert "epoch 1/3  step 6/18  samples 300  loss 2.0000  trained 0:08  left 0:12" in lines[0]
    assert "epoch 3/3  step 18/18  samples 300  no step  test 50.00 %  trained 0:08" in lines[1]
    assert "left" not in lines[1].partition("trained")[2]
