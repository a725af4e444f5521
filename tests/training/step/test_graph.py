"""A step as a graph is the step itself, from batches and numbers that lie still; the same lines run on a CPU, where
nothing is recorded and each launch is a call."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.no_waiting import no_waiting
from training import checkpoint
from training.arguments import make_config
from training.loop import end_epoch, plan_epoch, train_epoch
from training.machine.distributed import Ranks
from training.methods import METHODS
from training.run import main
from training.setup import set_up
from training.step import graph
from training.step.graph import obstacle, prepare

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
LAUNCHES, REST = 7, 20  # of an epoch of 370 samples: whole batches, and what is left
CHANGES = {
    "method": "p-sgd",
    "model": "resnet8",
    "width": 0.25,
    "optimizer": "muon",
    "muon_lr": 0.02,
    "lr": 0.05,
    "precision": "fp32",
    "budget": 0.7,
    "epochs": 3,
    "batch_size": 50,
    "mixer": "ricap",
    "clean_fraction": 0.4,
    "ema": 0.9,
    "size_schedule": [16, 20],
}


@pytest.fixture
def exact(monkeypatch):
    """Convolutions whose sums are the same in each call: others part two runs within some steps."""
    if torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def make_run(shapes, device: str, **changes):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return set_up(make_config({"data": str(shapes), "device": device, **CHANGES, **changes}))


def epochs(run, count: int = 3, stop_after: int | None = None) -> list[float]:
    """Train with weights on the samples and a small last batch; returns the summed losses after each step."""
    losses = []
    for _ in range(count):
        if run.plan is None:
            plan = plan_epoch(run)
            ids = plan.ids[: 50 * LAUNCHES + REST]
            run.plan = dataclasses.replace(plan, ids=ids, weights=np.linspace(0.5, 1.5, len(ids), dtype=np.float32))
        for _ in train_epoch(run):
            losses.append(run.loss_sum.item())
            if len(losses) == stop_after:
                return losses
        end_epoch(run)
        run.next_epoch()
    return losses


def values(run) -> list[torch.Tensor]:
    """Copies of the weights, their average, the scores and the loss."""
    parts = (run.model.state_dict(), run.average.state_dict(), run.table.sums(), {"loss": run.loss_sum})
    return [value.clone() for part in parts for value in part.values()]


def check_near(one, other) -> None:
    for mine, theirs in zip(values(one), values(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-3)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_graphs_train_as_plain_steps_do(shapes, device, optimizer, monkeypatch):
    plain, graphs = (make_run(shapes, device, optimizer=optimizer) for _ in range(2))
    begun = values(graphs)
    prepare(graphs)
    kinds = len(graphs.graphs)
    assert kinds == 3, "16 pixels mixed, 20 mixed, 20 clean"
    assert all(torch.equal(*pair) for pair in zip(begun, values(graphs), strict=True)), "preparing left a trace"
    momenta = [value for o in graphs.optimizers for one in o.state.values() for value in one.values()]
    assert momenta
    assert not any(value.any() for value in momenta)
    addresses = [value.data_ptr() for value in graph._changed_by_steps(graphs)]
    launched = []
    monkeypatch.setattr(graph, "_fill", lambda *args, fill=graph._fill: launched.append(args) or fill(*args))
    expected, got = epochs(plain), epochs(graphs)
    assert len(got) == 3 * (LAUNCHES + 1)
    assert len(launched) == 3 * LAUNCHES, "the last batch of an epoch is smaller: a plain step"
    assert len(graphs.graphs) == kinds
    assert got == pytest.approx(expected, rel=1e-3)
    check_near(plain, graphs)
    assert addresses == [value.data_ptr() for value in graph._changed_by_steps(graphs)], "a graph would miss what moved"
    assert plain.ledger.samples == graphs.ledger.samples == 3 * (50 * LAUNCHES + REST)
    assert plain.scores.visits.sum() == pytest.approx(graphs.scores.visits.sum(), rel=1e-5)
    rates = [[group["lr"] for o in run.optimizers for group in o.param_groups] for run in (plain, graphs)]
    assert rates[0] == rates[1], "plain numbers in both"


class NothingRead(TorchDispatchMode):
    """Raises where the host reads a value of a tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        assert not any(word in name for word in ("local_scalar", "nonzero", "is_nonzero", "equal")), name
        return func(*args, **(kwargs or {}))


def test_what_is_recorded_reads_no_value_back(shapes):
    run = make_run(shapes, "cpu")
    prepare(run)
    for recorded in run.graphs.values():
        with NothingRead():
            recorded.launch()
    with pytest.raises(AssertionError, match="local_scalar"), NothingRead():
        run.loss_sum.item()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_run_with_graphs_resumes_in_the_middle_of_an_epoch(shapes, device, tmp_path):
    whole, first, second = (make_run(shapes, device) for _ in range(3))
    for run in (whole, first):
        prepare(run)
        epochs(run, stop_after=LAUNCHES + 5)
    checkpoint.save(tmp_path, first)
    checkpoint.restore(checkpoint.load(tmp_path / checkpoint.FILE), second)
    prepare(second)
    for run in (whole, second):
        epochs(run, count=2)
    assert second.ledger.steps == 3 * (LAUNCHES + 1)
    if device == "cpu":
        assert all(torch.equal(*pair) for pair in zip(values(whole), values(second), strict=True))
    else:  # sums of atomics
        check_near(whole, second)


def made_of(method: str = "p-sgd", ranks: Ranks = Ranks(), precision: str = "bf16", draws: bool = False):  # noqa: B008
    """What `obstacle` reads of a run."""
    kind = METHODS[method]
    return SimpleNamespace(
        method=kind.__new__(kind),
        ranks=ranks,
        precision=SimpleNamespace(name=precision),
        draws=draws,
        config=SimpleNamespace(method=method, model="net.py:net"),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ranks": Ranks(0, 2)}, "several ranks train together"),
        ({"precision": "fp16"}, "fp16 lets the host decide about each step"),
        ({"method": "selective-backprop"}, "selective-backprop chooses within batches"),
        ({"method": "ordered-sgd"}, "ordered-sgd chooses within batches"),
        ({"draws": True}, "net.py:net draws at random in a step"),
    ],
)
def test_what_a_graph_cannot_do_is_said(changes, reason):
    assert reason in obstacle(made_of(**changes))


@pytest.mark.parametrize("method", ["scan", "uniform", "p-sgd", "infobatch", "rank"])
def test_methods_that_choose_epochs_have_graphs(method):
    assert obstacle(made_of(method)) is None


def test_a_step_that_cannot_be_recorded_is_one_sentence(shapes, monkeypatch):
    run = make_run(shapes, "cpu")

    def fail(*args):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graph, "step", fail)
    with pytest.raises(ValueError, match=r"resnet8 cannot be recorded as a graph .*capturing.*leave --graph out"):
        prepare(run)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "graph: a step is one launch"),
        ({"compile": "true", "model": "rebarnet", "width": 0.25}, "graph: a step is one launch"),
        ({"precision": "fp16"}, "graph: none, each step is launched kernel by kernel, since fp16"),
    ],
    ids=["plain", "compiled", "fp16"],
)
def test_a_run_of_the_command_line(quick_args, capsys, tmp_path, changes, said):
    options = {"graph": "true", "device": "cuda", "backend": "auto", "optimizer": "muon", "ema": 0.9}
    assert main(quick_args(out=tmp_path / "run", **{**options, **changes})) == 0
    assert said in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_epoch_of_graphs_waits_for_nothing(shapes):
    run = make_run(shapes, "cuda", mixer="none", budget=0.25)
    prepare(run)
    plan_epoch(run)
    steps = train_epoch(run)
    next(steps)
    with no_waiting():
        next(steps), next(steps)
