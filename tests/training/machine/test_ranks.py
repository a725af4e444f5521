"""Two ranks are one run: the same order, the same curve, one writer; and one that loses a rank ends and goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
ROOT = Path(__file__).parents[3]
CHANGES = {"method": "p-sgd", "budget": 0.2, "batch_size": 20, "epochs": 4, "eval_every": 2, "backend": "auto"}


@pytest.fixture(scope="module")
def forked(shapes, quick_args):
    """A function that runs a part of rank_forks.py in a folder."""

    def run(part: str, folder: Path, **changes) -> Path:
        script = Path(__file__).parents[1] / "rank_forks.py"
        command = [sys.executable, script, part, folder, shapes, *quick_args(**{**CHANGES, **changes})]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500
        )
        assert done.returncode == 0, done.stdout + "".join(log.read_text() for log in folder.glob("*.log"))
        return folder

    return run


@pytest.fixture(scope="module")
def work(forked, tmp_path_factory):
    """The folder that runs of two ranks have filled."""
    return forked("whole", tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def alone(work):
    return torch.load(work / "0of1.pt", weights_only=True)


@pytest.fixture(scope="module")
def both(work):
    return [torch.load(work / f"{rank}of2.pt", weights_only=True) for rank in (0, 1)]


def test_the_ranks_ids_taken_in_turns_are_the_order_of_one_process(alone, both):
    for mine, theirs in zip(alone["ids"], zip(both[0]["ids"], both[1]["ids"], strict=True), strict=True):
        assert mine == [i for pair in zip(*theirs, strict=True) for i in pair]


def test_the_loss_curve_is_that_of_one_process(alone, both):
    assert both[0]["curve"] == both[1]["curve"] == pytest.approx(alone["curve"], rel=1e-5)
    assert alone["curve"][-1] < 0.9 * alone["curve"][0]


def test_the_weights_are_equal_at_all_ranks_and_close_to_one_process(alone, both):
    for name, value in alone["weights"].items():
        assert torch.equal(both[0]["weights"][name], both[1]["weights"][name])
        assert torch.allclose(both[0]["weights"][name], value, atol=1e-5)


def test_batch_norms_take_the_statistics_of_the_global_batch(work):
    alone = torch.load(work / "norm0of1.pt", weights_only=True)
    both = [torch.load(work / f"norm{rank}of2.pt", weights_only=True) for rank in (0, 1)]
    for name in ("out", "evaluated"):
        together = torch.stack([rank[name] for rank in both], dim=1).flatten(0, 1)
        assert torch.allclose(together, alone[name], atol=1e-5)
    for rank in both:
        for mine, theirs in zip(rank["gradients"], alone["gradients"], strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)
        assert rank["running"].keys() == alone["running"].keys()
        for name, value in alone["running"].items():
            assert torch.allclose(rank["running"][name], value, atol=1e-6)
        assert torch.equal(rank["running"]["1.running_mean"], both[0]["running"]["1.running_mean"])


def test_scores_are_merged_and_samples_counted_once(alone, both):
    for mine, first, second in zip(alone["snapshot"], both[0]["snapshot"], both[1]["snapshot"], strict=True):
        assert torch.equal(first, second)
        assert torch.allclose(first, mine, atol=1e-5)
    assert alone["snapshot"][0].sum() == 4 * 300
    for rank in both:
        assert rank["ledger"]["samples"] == alone["ledger"]["samples"] == 4 * 300


def test_one_writer(work):
    assert {path.name for path in (work / "whole").iterdir()} == {
        "config.yaml", "metrics.jsonl", "summary.json", "curve.png", "checkpoint.pt", "history.u8"
    }  # fmt: skip
    summary = json.loads((work / "whole" / "summary.json").read_text())
    assert (summary["ranks"], summary["samples"], summary["batch_size"]) == (2, 480, 20)
    assert (work / "whole.log").read_text().count("epoch 1/4") == 1


def test_each_rank_descends_on_the_largest_losses_of_its_part(work):
    summary = json.loads((work / "ordered" / "summary.json").read_text())
    assert (summary["steps"], summary["samples"], summary["backward_samples"]) == (24, 24 * 8, 24 * 20)
    table = torch.load(work / "ordered" / "checkpoint.pt", weights_only=True)["table"]
    assert (table["total"][:, 0] + table["epoch"][:, 0]).sum().item() == pytest.approx(24 * 8, rel=1e-5)


def test_a_mistake_is_told_by_one_rank(forked, tmp_path):
    assert list(forked("mistakes", tmp_path).glob("mistake*.log"))


@pytest.mark.slow
def test_ranks_that_are_lost_or_stopped_go_on_to_the_same_bits(forked, work):
    forked("disturbed", work)
    assert (work / "lost1" / "summary.json").exists()


ELASTIC = {"batch_size": 60, "precision": "fp32", "lr": 0.01}
LARGER = {**ELASTIC, "model": "rebarnet", "width": 0.125, "optimizer": "muon", "ema": 0.9}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "changes"), [("elastic_twice", ELASTIC), ("elastic", ELASTIC), ("elastic", LARGER)])
def test_a_run_goes_on_with_other_ranks(forked, tmp_path, part, changes):
    """Stopped in the middle of an epoch of p-SGD: the same plans and scores, and weights near by the order of sums."""
    forked(part, tmp_path, **changes)
    one, more = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "more"))
    middle = torch.load(tmp_path / "more.1.pt", weights_only=True)
    assert (middle["epoch"], middle["batch"]) == (1, 1), "in the middle of an epoch"
    assert torch.equal(one["table"]["total"][:, 0], more["table"]["total"][:, 0]), "every plan drew the same samples"
    assert one["ledger"]["steps"] == more["ledger"]["steps"] == 8
    assert one["ledger"]["flops"] == more["ledger"]["flops"]
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "more")
    ]
    for mine, theirs in zip(*rows, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
    assert far(one["table"], more["table"]) < 1e-4
    assert far(one["model"], more["model"]) < 1e-4
    if one["average"]:
        assert far(one["average"], more["average"]) < 1e-4
    log = (tmp_path / "more.log").read_text().replace("\n", " ")
    assert "the checkpoint is of 1 ranks x 1 threads, this is 2 ranks x 1 threads: plan and scores stay" in log


def far(one: dict, other: dict) -> float:
    """The distance of two states, relative to the length of one: of all their numbers as one vector."""
    mine, theirs = (torch.cat([state[name].double().flatten() for name in one]) for state in (one, other))
    return (torch.linalg.vector_norm(mine - theirs) / torch.linalg.vector_norm(mine)).item()
