"""Each method as a run uses it: what a name and its options mean, and that all of them run, stop and go on."""

import copy
import dataclasses
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from loaders.importance import ImportanceTable
from loaders.order.scheduler import IndexScheduler
from loaders.types import Snapshot
from training import checkpoint
from training.arguments import parse_args
from training.checkpoint import State
from training.config import Config, run_name
from training.data import data_digest
from training.fit import train
from training.ledger import Ledger
from training.machine.signals import Stopped, StopRequest
from training.methods.build import NAMES, batch_rules, make_scheduler
from training.optim.build import build_optimizers
from training.report import folder as record
from training.run import main
from training.setup import assemble

ROOT = Path(__file__).parents[3]
OWN = f"{ROOT / 'docs/examples/capped_loss.py'}:capped_loss"
METHODS = [name for name in NAMES if name not in batch_rules.NAMES]


def snapshot(n: int, seed: int = 0) -> Snapshot:
    values = np.random.default_rng(seed).random((len(Snapshot._fields), n), dtype=np.float32)
    return Snapshot(np.ones(n, np.float32) * 3, *values[1:])


def config(method: str, **changes) -> Config:
    return Config(**{"method": method, "budget": 0.3, "batch_size": 10, "epochs": 8, **changes})


def made(method: str, **changes):
    return make_scheduler(config(method, **changes), 200)


class StopAfter(StopRequest):
    """A request to stop that comes when it has been looked for so many times."""

    def __init__(self, looks: int):
        self.looks = looks

    @property
    def signal(self) -> int | None:
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None


@pytest.fixture(scope="module", params=["none", "mixup", "cutmix", "ricap"])
def smoke(request, shapes):
    """The parts of a run of configs/smoke.yaml on little data, with each mixer."""
    changes = {"data": shapes, "batch_size": 20, "budget": 0.1, "epochs": 3, "eval_every": 0, "mixer": request.param}
    arguments = [f"--{name}={value}" for name, value in {**changes, "backend": "fused", "width": 0.125}.items()]
    settings, _ = parse_args(["--config", str(ROOT / "configs/smoke.yaml"), *arguments])
    return assemble(settings)


@pytest.mark.parametrize("method", [*METHODS, OWN], ids=lambda method: method.rpartition(":")[2])
def test_every_method_runs_with_every_mixer(smoke, tmp_path, method):
    job, first = smoke
    settings = dataclasses.replace(job.config, method=method, design="auto")
    job = job._replace(config=settings, scheduler=make_scheduler(settings, 600))
    model = copy.deepcopy(first.model)
    state = State(model, build_optimizers(model, settings), ImportanceTable(600), Ledger(600))
    train(job, state, tmp_path, Console(quiet=True), StopRequest())
    assert (state.ledger.samples, state.ledger.steps) == (180, 9)
    rows = record.read_rows(tmp_path)
    assert np.isfinite([row["train_loss"] for row in rows]).all()
    assert len(rows) == (1 if method == "infobatch" else 3)
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), first.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("scan", {"budget": 0.4}),
        ("infobatch", {"budget": 0.5, "epochs": 6}),
        ("active-bias", {"budget": 0.4, "warmup_epochs": 1}),
        ("p-sgd", {"budget": 0.4, "score": "average", "score_decay": 0.5}),
        ("rank", {"budget": 0.4, "final_pressure": 2}),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(quick_args, tmp_path, method, changes):
    changes = {"model": "resnet8", "width": 0.125, "eval_every": 0, **changes}
    settings, _ = parse_args(quick_args(method=method, size_schedule="[8]", precision="fp32", **changes))

    def go(folder: Path, looks: int) -> State:
        folder.mkdir(exist_ok=True)
        job, state = assemble(settings)
        if (folder / "checkpoint.pt").exists():
            checkpoint.restore(checkpoint.load(folder / "checkpoint.pt"), state, job.config, data_digest(job.manifest))
        train(job, state, folder, Console(quiet=True), StopAfter(looks))
        return state

    whole = go(tmp_path / "whole", 10**9)
    steps = whole.ledger.steps
    for looks in (steps // 3 + 3, steps // 3 + 6):
        with pytest.raises(Stopped):
            go(tmp_path / "parts", looks)
    assert checkpoint.load(tmp_path / "parts" / "checkpoint.pt")["plan"] is not None, "stopped inside an epoch"
    parts = go(tmp_path / "parts", 10**9)
    assert parts.ledger.visits.tolist() == whole.ledger.visits.tolist()
    assert parts.ledger.covered_samples == whole.ledger.covered_samples
    for a, b in ((whole.model, parts.model), (whole.table, parts.table)):
        pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_method_of_ones_own_runs_and_is_found_again(quick_args, tmp_path, capsys):
    file = shutil.copy(ROOT / "docs/examples/capped_loss.py", tmp_path / "mine.py")
    method = f"{file}:capped_loss"
    assert main(quick_args(out=tmp_path / "run", method=method, epochs=2, eval_every=0)) == 0
    assert record.read_summary(tmp_path / "run")["method"] == method
    (tmp_path / "run" / "summary.json").unlink()
    assert main(["--resume", str(tmp_path / "run")]) == 0
    assert record.read_summary(tmp_path / "run")["samples"] == 600
    Path(file).unlink()
    assert main(["--resume", str(tmp_path / "run")]) == 2
    assert f"there is no file {file}" in capsys.readouterr().err
    assert run_name(Config(data="data/shapes", method=method)) == "shapes-capped_loss-b1-s0"


def test_a_method_of_ones_own_decides():
    scheduler, known = made(OWN), snapshot(200)
    cap = np.quantile(known.loss, 0.95)
    weights = np.minimum(known.loss, cap)
    assert scheduler.weights(1, known) == pytest.approx(weights + weights.mean())
    sharp = made(OWN, smoothing=0.25).weights(1, known)
    assert sharp / sharp.mean() == pytest.approx(0.25 + 0.75 * (weights + weights.mean()) / (2 * weights.mean()))


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (None, "f", "there is no file"),
        ("def f(:", "f", "line 1: invalid syntax"),
        ("g = 3", "f", "has no function 'f'"),
        ("def f(s): return s.loss[1:]", "f", "expected one weight for each of 200 samples"),
        ("def f(s): return s.loss - 2", "f", "weights are negative"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text, name, sentence):
    if text is not None:
        (tmp_path / "a.py").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        made(f"{tmp_path / 'a.py'}:{name}")


def test_fixed_is_one_uniform_subset_in_a_new_order_each_epoch():
    plans = [made("fixed").plan(epoch, snapshot(200)) for epoch in range(3)]
    assert len({frozenset(plan.ids.tolist()) for plan in plans}) == 1
    assert not np.array_equal(plans[0].ids, plans[1].ids)
    counts = np.zeros(200)
    for seed in range(2000):
        counts[made("fixed", seed=seed).scheduler.subset] += 1
    z = (counts - 600) / np.sqrt(2000 * 0.3 * 0.7)
    assert counts.mean() == 600
    assert np.abs(z).max() < 4.5, "each sample is in with chance 0.3"
    assert z.std() == pytest.approx(1, abs=0.2)


def test_warm_up_draws_uniformly():
    uniform, known = IndexScheduler(200, budget=0.3, batch_size=10), snapshot(200)
    for method, changes, epochs in (
        ("p-sgd", {}, 0),
        ("p-sgd", {"warmup_epochs": 2}, 2),
        ("p-sgd", {"warmup_epochs": 2, "compat": "arazo"}, 1),
        ("c-sgd", {"warmup_epochs": 1, "compat": "arazo"}, 0),
        ("active-bias", {"epochs": 30}, 3),
        ("active-bias", {"warmup_epochs": 0}, 0),
        (OWN, {"warmup_epochs": 2}, 2),
    ):
        scheduler = made(method, **changes)
        for epoch in range(5):
            same = np.array_equal(scheduler.plan(epoch, known).ids, uniform.plan(epoch).ids)
            assert same == (epoch < epochs), (method, changes, epoch)


def test_the_pressure_falls_geometrically():
    scheduler, known = made("rank", pressure=64, final_pressure=4), snapshot(200)
    for progress, pressure in ((0, 64), (0.5, 16), (1, 4)):
        weights = scheduler.weights(1, known, progress)
        assert weights.max() / weights.min() == pytest.approx(pressure ** (199 / 200))
    constant = made("rank", pressure=64)
    assert np.array_equal(constant.weights(1, known, 0.9), constant.weights(1, known, 0.1))


def test_each_method_knows_its_design():
    designs = {method: made(method).scheduler.design for method in METHODS}
    assert designs == {**dict.fromkeys(METHODS, "race"), "scan": "scan", "infobatch": "systematic", "orderdp": "pool"}
    assert made("p-sgd", design="credit").scheduler.design == "credit"
    assert made("orderdp").scheduler.pool == pytest.approx(0.5)
    assert made("orderdp", budget=0.9).scheduler.pool == 1
    assert made("infobatch", design="systematic").scheduler.design == "systematic", "as a resumed run names it"


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("psgd", {}, "unknown method 'psgd': allowed are uniform, scan, fixed, p-sgd"),
        ("uniform", {"smoothing": 0.1}, "smoothing is for p-sgd, .* and uniform does not read it"),
        ("loss", {"score": "latest"}, "score is for p-sgd, c-sgd, and loss does not read it"),
        ("scan", {"design": "race"}, "method scan cannot draw by design 'race'"),
        ("p-sgd", {"design": "pool"}, "method p-sgd cannot draw by design 'pool'"),
        ("infobatch", {"design": "race"}, "method infobatch cannot draw by design 'race'"),
        ("infobatch", {"prune_until": 1.5}, r"prune_until is at least 0 and at most 1, got 1\.5"),
        ("infobatch", {"prune_ratio": 1.0}, "0 <= ratio < 1"),
        ("infobatch", {"budget_unit": "epochs", "epoch_fraction": 0.5}, "leave epoch_fraction out"),
        ("orderdp", {"pool_fraction": 0.2}, r"pool_fraction is at least 0\.3 and at most 1, got 0\.2"),
        ("rank", {"pressure": 0.5}, "pressures are at least 1"),
        ("p-sgd", {"smoothing": 1.0}, "at least 0 and below 1"),
        ("p-sgd", {"warmup_epochs": -1}, "warmup_epochs is at least 0"),
    ],
)
def test_options_that_cannot_work(method, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(method, **changes)


def test_a_fixed_subset_is_not_a_core_set():
    with pytest.raises(ValueError, match="take uniform with a core-set"):
        make_scheduler(config("fixed"), 200, subset=np.arange(50))
