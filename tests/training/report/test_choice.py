"""A run whose method could not choose says so: its result is one of uniform draws."""

import json

import numpy as np
import pytest

from training.arguments import make_config, parse_args
from training.loop import plan_epoch
from training.report.folder import read_summary
from training.run import main
from training.setup import set_up

CHOOSERS = ("p-sgd", "c-sgd", "active-bias", "rank", "loss", "el2n", "orderdp")
SHARP = {"p-sgd": {"smoothing": 0.0, "score": "latest"}, "c-sgd": {"smoothing": 0.0}, "active-bias": {"smoothing": 0.0}}


@pytest.mark.parametrize("method", CHOOSERS)
def test_an_epoch_of_another_unit_draws_the_budgets_fraction(quick_args, method):
    """0.1 drew all samples: visits of the hardest tenth over the mean were 1.00 whatever the method."""
    for unit, budget, fraction in (("epochs", 0.25, 0.25), ("flops", 0.25, 0.25), ("seconds", 1, 0.3)):
        config, _ = parse_args(quick_args(method=method, budget=budget, budget_unit=unit, epochs=4, batch_size=20))
        ids = plan_epoch(set_up(config)).ids
        assert len(ids) == len(set(ids.tolist())) == int(600 * fraction) // 20 * 20


def test_the_same_budget_in_epochs_is_the_same_experiment(quick_args, tmp_path):
    lines = []
    for unit in ("samples", "epochs"):
        out = tmp_path / unit
        arguments = quick_args(method="p-sgd", budget=0.5, budget_unit=unit, epochs=4, batch_size=50, out=out)
        assert main(arguments) == 0
        lines.append([json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()])
    for a, b in zip(*lines, strict=True):
        assert (a["samples"], a["train_loss"], a["test_accuracy"]) == (
            b["samples"],
            b["train_loss"],
            b["test_accuracy"],
        )


@pytest.mark.parametrize(
    "method", ["p-sgd", "orderdp"] + [pytest.param(name, marks=pytest.mark.slow) for name in ("rank", "loss", "el2n")]
)
def test_a_whole_budget_leaves_nothing_to_choose(quick_args, tmp_path, capsys, method):
    out = tmp_path / "run"
    assert main(quick_args(method=method, budget=1, epochs=1, eval_every=0, out=out)) == 0
    told = read_summary(out)["did_not_choose"]
    assert told == f"{method} draws all 600 samples in each epoch, so it cannot choose: give a --budget below 1"
    assert capsys.readouterr().out.replace("\n", " ").count(f"warning: {told}") == 2, "before and after"


@pytest.mark.slow
def test_a_method_that_chose_says_nothing(quick_args, tmp_path):
    out = tmp_path / "run"
    assert main(quick_args(method="rank", budget=0.2, epochs=40, batch_size=20, eval_every=0, out=out)) == 0
    assert read_summary(out)["did_not_choose"] is None


def test_methods_without_a_choice_say_nothing(quick_args, tmp_path):
    for method in ("uniform", "scan", "fixed"):
        assert main(quick_args(method=method, budget=0.5, epochs=1, eval_every=0, out=tmp_path / method)) == 0
        assert read_summary(tmp_path / method)["did_not_choose"] is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "p-sgd", "epochs": 1}, "p-sgd drew uniformly in all its epochs (1)"),
        (
            {"method": "p-sgd", "epochs": 3, "lr": 1e-9},
            "the weights of p-sgd were nearly equal throughout (tau at most 1.0",
        ),
        (
            {"method": "grad-norm", "tau_threshold": 9.0},
            "was never above its threshold 9 when it looked (--tau_threshold)",
        ),
        ({"method": "infobatch", "epochs": 1}, "infobatch left out no sample in any of its epochs: a shuffled pass"),
        ({"method": "ordered-sgd", "lr": 1e-9}, "ordered-sgd descended on whole batches: training accuracy stayed"),
    ],
)
def test_why_a_method_did_not_choose(quick_args, tmp_path, changes, sentence):
    out = tmp_path / "run"
    assert main(quick_args(**{"budget": 0.5, "epochs": 2, "eval_every": 0, "out": out, **changes})) == 0
    assert sentence in read_summary(out)["did_not_choose"]


def test_the_default_of_epoch_fraction_is_open():
    assert make_config({"budget_unit": "flops", "budget": 0.3}).epoch_fraction is None
    assert np.isclose(make_config({"budget_unit": "flops", "epoch_fraction": 0.5}).epoch_fraction, 0.5)
