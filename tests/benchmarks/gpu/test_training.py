"""The benchmark of training on a GPU, tried on a CPU: its flow, its statistics, and how it reads airbench."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import pytest

from benchmarks.gpu import training
from benchmarks.gpu.training import airbench_rows, pilots, summary, ways
from convert.shapes import convert_shapes
from training.config import Config

AIRBENCH = """
import sys
import torch

with open(sys.argv[0]) as file:  # as airbench reads its own code
    code = file.read()
images, labels = (torch.load("cifar10/train.pt")[name] for name in ("images", "labels"))
assert (images.dtype, images.shape[1:], labels.dtype) == (torch.uint8, (32, 32, 3), torch.int64)
assert len(torch.load("cifar10/test.pt")["labels"]) == 50
print("---\\n|  run     |  epoch  |  train_acc  |  val_acc  |  tta_val_acc  |  time_seconds  |\\n---")
for run in ["warmup", 0, 1, 2][:RUNS]:
    score = 0.0 if run == "warmup" else 0.9 + 0.01 * run
    print(f"|  {run}  |  0  |  0.1  |  0.5  |  |  1.0000  |")
    print(f"|    |  1  |  0.2  |  {score:.4f}  |    |  2.0000  |")
    print(f"|    |  eval  |  0.2  |  {score:.4f}  |  {score + 0.05:.4f}  |  2.5000  |\\n---")
print("no more")
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    convert_shapes(root, 100, 50)
    return root / "shapes"


@pytest.mark.slow
def test_airbench_runs_as_it_is_and_its_first_run_does_not_count(small, tmp_path):
    script = tmp_path / "airbench.py"
    script.write_text(AIRBENCH.replace("RUNS", "4"))
    result = airbench_rows(script, small, 2)
    assert [row["accuracy"] for row in result["runs"]] == [0.9, 0.91]
    assert result["accuracy_tta"]["mean"] == pytest.approx(0.955)
    assert (result["n"], result["train_seconds"], result["runs"][0]["seconds_with_tta"]) == (2, 2.0, 2.5)
    assert airbench_rows(script, small, 20)["n"] == 3, "it ends early, and what it made counts"
    script.write_text(AIRBENCH.replace("RUNS", "1"))
    with pytest.raises(ValueError, match=r"airbench.py made 1 of 3 runs; it ended with: .*no more"):
        airbench_rows(script, small, 2)


class Clock:
    """Time that passes only while something is run."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: self.now))

    def trained(self, config: Config, seed: int, epochs: int) -> dict:
        self.now += 10
        measured = {"accuracy": 0.95, "accuracy_tta": 0.96, "train_seconds": 1.0}
        return {"seed": seed, "epochs": epochs, **measured, "images_per_second": 100.0 + config.graph}


def test_what_a_limit_leaves_time_for_is_measured(monkeypatch, tmp_path):
    """No way that compiles, fewer seeds, and airbench within the rest; each is saved as soon as it is there."""
    clock, said = Clock(monkeypatch), []
    monkeypatch.setattr(training, "trained", clock.trained)
    monkeypatch.setattr(training, "airbench_rows", lambda script, data, runs, seconds, save: {"within": seconds})
    rows = training.rows_of(
        training.CONFIG, 0.94, tmp_path, 20, tmp_path, lambda rows: said.append((clock.now, sorted(rows))), 155
    )
    assert rows["ways"]["compile"]["failed"] == "not begun: too little of 62 s was left"
    assert rows["way"] == "graph"
    assert len(rows["pilots"]) == 3
    assert rows["seeds"]["accuracy"]["n"] == rows["seeds"]["accuracy_tta"]["n"] == 4
    assert rows["airbench"] == {"within": 155 - 110}
    assert [at for at, _ in said[:2]] == [20, 40]
    assert said[-2] == (110, ["goal", "pilots", "preset", "seeds", "way", "ways"])


def test_without_a_limit_all_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "trained", Clock(monkeypatch).trained)
    rows = training.rows_of(training.CONFIG, 0.94, tmp_path, 20, None, lambda rows: None)
    assert not any("failed" in row for row in rows["ways"].values())
    assert rows["seeds"]["accuracy"]["n"] == 20


def test_where_no_way_works_airbench_is_measured(monkeypatch, tmp_path):
    def fail(*args):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(training, "trained", fail)
    monkeypatch.setattr(training, "airbench_rows", lambda *args: {"n": 3})
    rows = training.rows_of(training.CONFIG, 0.94, tmp_path, 20, tmp_path, lambda rows: None)
    assert all(row == {"failed": "RuntimeError: no such kernel"} for row in rows["ways"].values())
    assert rows["airbench"] == {"n": 3}


@pytest.mark.slow
def test_ways_are_timed_and_one_that_fails_says_why(small, monkeypatch):
    monkeypatch.setattr(training, "WAYS", {way: training.WAYS[way] for way in ("eager", "graph")})
    config = Config(data=str(small), model="resnet8", width=0.25, epochs=2, batch_size=10, size_schedule=())
    config = dataclasses.replace(config, device="cpu", precision="fp32", backend="reference")
    rows = ways(config)
    assert rows["eager"]["images_per_second"] > 0
    assert 0 <= rows["eager"]["accuracy"] <= 1
    assert rows["graph"]["failed"].startswith("ValueError: graph needs a GPU")


def reached(config: Config, seed: int, epochs: int) -> dict:
    """A run whose accuracy grows with its length."""
    return {"seed": seed, "epochs": epochs, "accuracy": epochs / 100, "accuracy_tta": epochs / 100 + 0.015}


@pytest.mark.parametrize(
    ("goal", "lengths"),
    [
        (0.10, {"accuracy": 10, "accuracy_tta": 9}),
        (0.01, {"accuracy": 8, "accuracy_tta": 8}),
        (0.99, {"accuracy": 16, "accuracy_tta": 16}),
    ],
)
def test_the_shortest_length_that_reaches_the_goal(monkeypatch, goal, lengths):
    monkeypatch.setattr(training, "trained", reached)
    rows, found = pilots(Config(epochs=8), goal)
    assert found == lengths
    assert {row["epochs"] for row in rows} == {e for e in (8, 9, 10, 12, 14, 16) if e <= max(lengths.values())}


def test_the_interval_is_students():
    make = partial(dict, accuracy_tta=0.5, train_seconds=1.0)
    rows = [make(accuracy=value) for value in (0.1, 0.2, 0.3)]
    result = summary(rows)
    assert result["accuracy"]["mean"] == pytest.approx(0.2)
    assert result["accuracy"]["half_width_95"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert summary(rows[:1])["accuracy"]["half_width_95"] is None
