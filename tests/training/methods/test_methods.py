"""What every method promises: pure plans, whole budgets, exact accounts, the same bits after a stop, its options."""

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from loaders.types import EpochPlan
from tests.goodness import chi_square
from tests.no_waiting import no_waiting
from tests.training.methods.toy import (
    BATCH_SIZE,
    FLOPS,
    NUM,
    Linear,
    Silence,
    StopAfter,
    check_counts,
    made,
    make_run,
    snapshot,
    train,
    visits,
)
from training import checkpoint
from training.arguments import make_config, option_names, parse_args
from training.budget import Budget, make_budget
from training.config import FIELDS
from training.loop import fit, train_epoch
from training.machine.signals import Stopped
from training.methods import METHODS
from training.methods.base import Context, DesignOption, Method
from training.report.folder import read_rows, read_summary
from training.run import main
from training.setup import set_up
from training.state import Run

OWN = f"{Path(__file__).parents[3] / 'examples/capped_loss.py'}:capped_loss"
ALL = [*METHODS, OWN]
GATHERING = ("selective-backprop", "es", "divbs", "rho-loss", "proxy-filter", "random-batch")
WITHIN_BATCH = (*GATHERING, "ordered-sgd", "grad-norm")
WHOLE = (*GATHERING, "infobatch", "seta")  # the first epoch offers all samples
# So that in a short run each one does what sets it apart.
OPTIONS = {
    "p-sgd": {"score": "average", "score_decay": 0.5, "warmup_epochs": 1},
    "rank": {"final_pressure": 2.0},
    "seta": {"prune_ratio": 0.0, "num_groups": 3, "window_fraction": 0.7},
    "active-bias": {"warmup_epochs": 1},
    "es": {"keep": 0.5, "prune_ratio": 0.2, "anneal": 0.1},
    "ordered-sgd": {"keep": 0.5},
    "grad-norm": {"tau_threshold": 0.5, "presample": 2},
}

every_method = pytest.mark.parametrize("method", ALL, ids=lambda method: method.rpartition(":")[2])


def begin(method: str, **settings) -> Run:
    """A run of three epochs of 40 % of the images, mixed."""
    run = make_run(method, lr=0.1, mix=True, fraction=0.4, epochs=3, **{**OPTIONS.get(method, {}), **settings})
    chooser = run.method
    run.budget = make_budget(run.config, NUM, run.flops, chooser.makes_passes, chooser.even_epochs)
    return run


@every_method
def test_a_run_spends_its_budget_and_counts_what_it_does(tmp_path, method):
    run, report = begin(method), Silence(tmp_path)
    fit(run, report)
    assert run.is_over
    assert run.ledger.steps == 3 * (NUM * 4 // 10 // BATCH_SIZE)
    per_step = BATCH_SIZE // 2 if method == "ordered-sgd" else BATCH_SIZE
    assert run.ledger.samples == per_step * run.ledger.steps
    assert run.model.passes[True] == BATCH_SIZE * run.ledger.steps
    proxied = BATCH_SIZE * -(-run.method.batches // run.method.every) if method == "proxy-filter" else 0
    assert run.ledger.backward_samples == run.model.passes[True] + proxied
    scored = run.ledger.forward_samples - run.ledger.backward_samples
    assert (scored > 0) == run.method.makes_passes
    assert visits(run).sum() == pytest.approx(run.ledger.samples, rel=1e-4)
    assert np.isfinite([loss for loss in report.losses if loss is not None]).all()
    assert not torch.equal(run.model.linear.weight, Linear().linear.weight)


@every_method
def test_a_run_stopped_again_and_again_ends_in_the_same_bits(tmp_path, method):
    whole = begin(method, ema=0.9)
    fit(whole, Silence(tmp_path))
    path = tmp_path / checkpoint.FILE
    path.unlink()
    stops = inside = 0
    while True:
        parts = begin(method, ema=0.9)
        if path.exists():
            content = checkpoint.load(path)
            inside += content["plan"] is not None and content["batch"] > 0
            checkpoint.restore(content, parts)
        parts.stop = StopAfter(19)
        try:
            fit(parts, Silence(tmp_path))
            break
        except Stopped:
            stops += 1
    assert stops >= inside > 2
    a, b = (flat(checkpoint.state_dict(run)) for run in (whole, parts))
    assert a.keys() == b.keys()
    assert not [key for key in a if not torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key]))]


def flat(content: dict | list, name: str = "") -> dict:
    """The numbers and tensors of a checkpoint but its clock, by their path."""
    found = {}
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, dict | list | tuple):
            found |= flat(value, f"{name}/{key}")
        elif isinstance(value, torch.Tensor | int | float) and not str(key).endswith("_seconds"):
            found[f"{name}/{key}"] = value
    return found


@pytest.mark.parametrize("method", ["uniform", *WITHIN_BATCH])
def test_a_budget_in_flops_is_never_exceeded_and_spent_to_the_last_step(method):
    scoring = METHODS[method].makes_passes
    total, cost = 20_000.0, BATCH_SIZE * (FLOPS.step + scoring * FLOPS.forward)
    options = {"tau_threshold": 0.5} if method == "grad-norm" else {} if method == "uniform" else {"keep": 0.25}
    run = make_run(method, budget=Budget("flops", total, None, cost), **options)
    while not run.is_over:
        train(run)
    assert total - cost < run.ledger.flops <= total
    if method not in ("ordered-sgd", "proxy-filter"):
        check_counts(run)


@pytest.mark.parametrize("method", ["uniform", "selective-backprop"])
def test_a_run_ends_behind_its_last_step_in_the_middle_of_an_epoch(method):
    run = make_run(method, budget=Budget("steps", 70, None), **({"keep": 0.25} if method != "uniform" else {}))
    while not run.is_over:
        train(run)
    assert (run.ledger.steps, run.ledger.samples) == (70, 70 * BATCH_SIZE)


def test_a_run_stopped_behind_its_last_step_takes_no_further_one(tmp_path):
    """A signal that comes there leaves a checkpoint in the middle of the last epoch."""
    for looks in range(68, 76):
        run = make_run("uniform", budget=Budget("steps", 70, None))
        run.stop = StopAfter(looks)
        try:
            fit(run, Silence(tmp_path))
        except Stopped:
            content = checkpoint.load(tmp_path / checkpoint.FILE)
            run = make_run("uniform", budget=Budget("steps", 70, None))
            checkpoint.restore(content, run)
            fit(run, Silence(tmp_path))
        assert run.ledger.steps == 70, f"stopped at look {looks}"


@every_method
def test_a_plan_is_a_pure_function_of_epoch_scores_and_seed(method):
    options, known = OPTIONS.get(method, {}), snapshot(200)
    first, again, other = (made(method, seed=seed, **options) for seed in (0, 0, 1))
    first.plan(0)
    for progress in (0.2, 0.6):
        a, b = first.plan(3, known, progress), again.plan(3, known, progress)
        assert np.array_equal(a.ids, b.ids)
        assert a.key == b.key
        assert not np.array_equal(a.ids, other.plan(3, known, progress).ids)
        assert not np.array_equal(a.ids, first.plan(4, known, progress).ids)


@every_method
def test_an_epoch_is_of_the_budgets_size(method):
    size = 200 if method in WHOLE else 60
    plan = made(method, **OPTIONS.get(method, {})).plan(0)
    assert len(plan) == size
    assert len(np.unique(plan.ids)) == size
    assert 0 <= plan.ids.min() <= plan.ids.max() < 200


@every_method
def test_the_first_epoch_is_uniform(method):
    counts = np.zeros(40)
    for seed in range(200):
        counts[made(method, 40, seed=seed, batch_size=1, **OPTIONS.get(method, {})).plan(0).ids] += 1
    size = 40 if method in WHOLE else 12
    assert counts.sum() == 200 * size
    assert chi_square(counts) > 1e-3


@pytest.mark.parametrize("method", [name for name in ALL if name != "fixed"], ids=lambda name: name.rpartition(":")[2])
def test_every_epoch_is_within_a_core_set(method):
    ids = np.arange(0, 200, 4)
    chooser = made(method, subset=ids, **OPTIONS.get(method, {}))
    for scores in (None, snapshot(200)):
        plan = chooser.plan(2, scores)
        assert np.isin(plan.ids, ids).all()
        assert len(plan) == 60 or not chooser.even_epochs, "more than one pass over it"


@every_method
def test_options_are_a_frozen_value_of_names_that_no_other_setting_has(method):
    kind = type(made(method, **OPTIONS.get(method, {})))
    assert kind.Options.__dataclass_params__.frozen
    assert not {*option_names(kind.Options)} & {*FIELDS}
    assert kind.__doc__
    assert kind.Options.__doc__


def test_each_method_knows_its_design():
    designs = {method: made(method).scheduler.design for method in METHODS}
    own = {"scan": "scan", "infobatch": "systematic", "seta": "systematic", "orderdp": "pool"}
    assert designs == {**dict.fromkeys(METHODS, "race"), **own}
    assert made("p-sgd", design="systematic").scheduler.design == "systematic"


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("psgd", {}, "unknown method 'psgd': allowed are uniform, scan, fixed, p-sgd"),
        ("uniform", {"smoothing": 0.1}, "smoothing is an option of p-sgd, .*, and method uniform does not have it"),
        ("scan", {"smoothing": 0.1}, "and method scan does not have it: leave it out"),
        ("loss", {"score": "latest"}, "score is an option of p-sgd, c-sgd, and method loss does not have it"),
        ("scan", {"design": "race"}, "design is an option of uniform, .*, and method scan does not have it"),
        ("infobatch", {"design": "race"}, "and method infobatch does not have it"),
        ("orderdp", {"design": "pool"}, "and method orderdp does not have it"),
        (
            "p-sgd",
            {"keep": 0.3},
            r"keep is an option of selective-backprop, .*random-batch, and method p-sgd",
        ),
        ("p-sgd", {"smothing": 0.3}, "unknown setting 'smothing': did you mean 'smoothing'"),
    ],
)
def test_an_option_of_another_method_is_one_sentence(method, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(method, **changes)


def test_a_method_that_sets_its_own_number_of_samples_is_refused(monkeypatch):
    class Short(Method):
        def __init__(self, options, context: Context):
            super().__init__(context.scheduler())
            self.scheduler = dataclasses.replace(self.scheduler, design="systematic", policy="infobatch")

    monkeypatch.setitem(METHODS, "short", Short)
    with pytest.raises(ValueError, match="method short sets its own number of samples"):
        made("short", budget=1.0)


def test_help_shows_the_options_of_the_method_and_of_no_other(capsys):
    shown = {}
    for method in ("p-sgd", "rank", "scan"):
        with pytest.raises(SystemExit):
            parse_args(["--method", method, "--help"])
        shown[method] = capsys.readouterr().out
    assert [("--smoothing" in text, "--pressure" in text) for text in shown.values()] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert "--design" not in shown["scan"]


def test_a_design_is_one_that_the_method_can_draw_by(capsys):
    assert main(["--method=p-sgd", "--design=pool"]) == 2
    assert "race" in capsys.readouterr().err
    config, _ = parse_args(["--method=p-sgd", "--design=systematic"])
    assert config.options.design == "systematic"


def test_a_method_within_batches_that_keeps_all_is_one_sentence_on_the_command_line(quick_args, tmp_path, capsys):
    assert main(quick_args(method="selective-backprop", budget=1, out=tmp_path / "run")) == 2
    assert "give --keep or a --budget below 1" in capsys.readouterr().err


def test_epochs_without_a_step(quick_args, tmp_path, capsys):
    """Two batches of 50 an epoch, of which a tenth stays: five epochs are one step."""
    changes = {"budget": 0.3, "budget_unit": "flops", "epoch_fraction": 0.17, "epochs": 1, "keep": 0.1}
    assert main(quick_args(out=tmp_path / "run", method="random-batch", eval_every=0, **changes)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert "no step" in lines[0]
    assert "left" not in lines[0]
    assert [row["step"] for row in read_rows(tmp_path / "run")][:6] == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("method", ["selective-backprop", "grad-norm"])
def test_a_method_within_batches_tells_what_it_paid_and_what_decides(quick_args, tmp_path, method):
    changes = {"mixer": "cutmix", "clean_fraction": 0.3, "budget": 0.4, "epochs": 3, "backend": "fused"}
    options = {"tau_threshold": 0.1} if method == "grad-norm" else {"keep": 0.4}
    arguments = quick_args(out=tmp_path / "run", method=method, eval_every=0, width=0.25, **changes, **options)
    assert main(arguments) == 0
    summary, last = read_summary(tmp_path / "run"), read_rows(tmp_path / "run")[-1]
    assert summary["steps"] == 3 * (240 // 50)
    assert summary["options"].items() >= options.items()
    content = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    total = content["table"]["total"][:, 0].sum()
    assert total == pytest.approx(summary["samples"], rel=1e-4)
    assert summary["forward_samples"] > summary["backward_samples"] == summary["samples"]
    assert set(last["choice"]) == ({"tau", "is_drawing", "draws"} if method == "grad-norm" else {"remembered"})


def test_images_that_wait_are_kept_when_a_run_is_stopped(quick_args, tmp_path):
    """Of real loaders, mixed: the same bits as without the stops."""
    changes = {"mixer": "cutmix", "budget": 0.4, "epochs": 3, "batch_size": 30, "keep": 0.4, "ema": 0.9, "width": 0.125}
    changes["compat"] = "arazo"  # it chooses from the second epoch on, behind 22 looks
    arguments = quick_args(method="selective-backprop", backend="fused", eval_every=0, **changes)
    path, ends, waiting = tmp_path / checkpoint.FILE, [], 0
    for looks in ((10**9,), (26, 3, 10**9)):
        path.unlink(missing_ok=True)
        for number in looks:
            run = set_up(parse_args(arguments)[0], stop=StopAfter(number))
            if path.exists():
                content = checkpoint.load(path)
                waiting += content["method"]["held"] is not None
                checkpoint.restore(content, run)
            with nullcontext() if number > 1000 else pytest.raises(Stopped):
                fit(run, Silence(tmp_path))
        ends.append(flat(checkpoint.state_dict(run)))
    assert waiting == 2
    assert ends[0].keys() == ends[1].keys()
    assert not [key for key in ends[0] if not torch.equal(*(torch.as_tensor(end[key]) for end in ends))]


@dataclass(frozen=True)
class MyOptions(DesignOption):
    """which samples are drawn

    Args:
        design: sampling design (docs/methods.md)
        my_option: draw only every n-th sample
    """

    my_option: int = 2


class Mine(Method):
    """Every n-th sample only."""

    Options = MyOptions

    def __init__(self, options: MyOptions, context: Context):
        every = options.my_option
        super().__init__(
            context.scheduler(lambda known: np.arange(len(known.visits)) % every == 0.0, design=options.design)
        )


def test_a_new_method_is_one_class_and_one_line(quick_args, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(METHODS, "mine", Mine)
    with pytest.raises(SystemExit):
        parse_args(["--method", "mine", "--help"])
    assert "draw only every n-th sample (type: int, default: 2)" in " ".join(capsys.readouterr().out.split())
    arguments = quick_args(out=tmp_path / "run", method="mine", budget=0.3, epochs=2, eval_every=0)
    config, _ = parse_args([*arguments, "--my-option", "3"])
    assert config.options == MyOptions("race", 3)
    assert main([*arguments, "--my_option", "3"]) == 0
    assert read_summary(tmp_path / "run")["options"] == {"design": "race", "my_option": 3}
    seen = checkpoint.load(tmp_path / "run" / "checkpoint.pt")["table"]["total"][:, 0].numpy()
    assert not (np.flatnonzero(seen) % 3).any(), "only every third sample is drawn"
    assert seen.sum() == 2 * 150
    assert main(["--resume", str(tmp_path / "run")]) == 0, "its options are found in the run's settings"
    with pytest.raises(ValueError, match="my_option is an option of mine, and method scan does not have it"):
        make_config({"method": "scan", "my_option": 3})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["uniform", "ordered-sgd", "grad-norm", "random-batch"])
def test_only_selective_backprop_waits_for_the_device(method):
    options = {"grad-norm": {"tau_threshold": 0.5}, "uniform": {}}.get(method, {"keep": 0.25})
    run = make_run(method, lr=0.2, device="cuda", **options)
    if method == "grad-norm":
        run.method.is_drawing, run.method.steps = True, 1  # nine steps to the next look at tau
    run.plan = EpochPlan(np.arange(NUM), key=1)
    batches = [
        batch._replace(images=batch.images.cuda(), labels=batch.labels.cuda(), ids=batch.ids.cuda())
        for batch in run.data.train_loader.epoch(run.plan)
    ]

    class Ready:
        def epoch(self, plan, start_batch=0):
            return iter(batches[start_batch:])

    run.data.train_loader = run.data.clean_loader = Ready()
    steps = train_epoch(run)
    for _ in range(6):
        next(steps)
    with no_waiting():
        for _ in range(9):
            next(steps)
    assert run.ledger.steps >= 3
