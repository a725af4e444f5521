"""The examples in the real frameworks, on one process and on two: each epoch visits what its plan says, which follows
the scores of the epoch before, and a run that is killed goes on to the same ids and the same scores.

`make test-frameworks` installs the frameworks and runs this; one that is not installed is skipped with a reason.
"""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convert.writers.beton import write_beton
from loaders import ImportanceTable, IndexScheduler, Scores, Snapshot
from loaders.engine import is_installed

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
N, BATCH, EPOCHS, STEPS = 400, 12, 3, 10  # a budget of 0.3 is 120 samples, 10 batches an epoch
NEEDS = {
    "plain_loop": "torch",
    "statefuldataloader": "torchdata.stateful_dataloader",
    "lightning_module": "lightning",
    "accelerate_loop": "accelerate",
    "hf_trainer": "transformers",
}
ORDER = IndexScheduler(N, "p-sgd", budget=0.3, batch_size=BATCH, seed=1)  # as the examples make it


# The beginnings of our warnings.
WARNED = re.compile(r"ids that epoch|follows scores|is begun|goes back")


def run_ranks(program: Path, arguments: list, ranks: int, log: Path, stop: int = 0) -> tuple[list[list], list[str]]:
    """Run a program as torchrun would; what each rank recorded, [[ids, errors] of each batch], and what it said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if ranks > 1:
        env |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0"}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    running, logs = [], [log.with_name(f"{log.name}{rank}") for rank in range(ranks)]
    for rank in range(ranks):
        of_rank = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
        command = [sys.executable, Path(__file__).parent / "run_example.py", logs[rank], stop, program, *arguments]
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**env, **of_rank},
            cwd=log.parent,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        running.append(process)
    said = [process.communicate(timeout=500)[0] for process in running]
    assert [process.returncode for process in running] == [0] * ranks, "\n".join(said)
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in logs], said


def next_scores(table: ImportanceTable, batches: list) -> Snapshot:
    """The table's snapshot after these batches."""
    for ids, errors in batches:
        table.record(torch.tensor(ids), Scores(*[torch.tensor(errors)] * 3))
    return table.snapshot()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.beton"
    images = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    write_beton(path, images, np.arange(N) % 10)
    return path


@pytest.fixture(scope="module", params=[(name, ranks) for name in NEEDS for ranks in (1, 2)], ids=str)
def example(request, data, tmp_path_factory):
    """An example and a number of ranks; a function that runs it; and what its uninterrupted run recorded."""
    name, ranks = request.param
    if not is_installed(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed: `make test-frameworks` installs it")
    folder = tmp_path_factory.mktemp(name)

    def run(out: str, log: str, save_every: int, stop: int = 0) -> list[list]:
        """What each rank recorded: [[ids, errors] of each batch]."""
        arguments = [data, "--out", folder / out, "--epochs", EPOCHS, "--batch_size", BATCH, "--save_every", save_every]
        arguments += ["--devices", ranks] if name == "lightning_module" else []
        recorded, said = run_ranks(ROOT / "examples" / f"{name}.py", arguments, ranks, folder / log, stop)
        assert not [text for text in said if WARNED.search(text)], "\n".join(said)
        return recorded

    return name, ranks, run, run("whole", "whole", 1000)


def test_each_epoch_visits_its_plan_which_follows_the_scores(example):
    name, ranks, _, recorded = example
    table, snapshot = ImportanceTable(N), ImportanceTable(N).snapshot()
    assert [len(of_rank) for of_rank in recorded] == [EPOCHS * STEPS] * ranks
    assert sum(len(ids) for of_rank in recorded for ids, _ in of_rank) == EPOCHS * 120, "the budget"
    for epoch in range(EPOCHS):
        plan = ORDER.plan(epoch, snapshot)
        batches = [of_rank[epoch * STEPS : (epoch + 1) * STEPS] for of_rank in recorded]
        ids = [[i for batch, _ in of_rank for i in batch] for of_rank in batches]
        assert sorted(i for of_rank in ids for i in of_rank) == sorted(plan.ids.tolist())
        if name in ("accelerate_loop", "hf_trainer"):  # which give the ranks whole batches in turns
            assert [i for parts in zip(*batches, strict=True) for batch, _ in parts for i in batch] == plan.ids.tolist()
        else:
            assert [i for parts in zip(*ids, strict=True) for i in parts] == plan.ids.tolist()
        assert epoch == 0 or sorted(plan.ids) != sorted(ORDER.plan(epoch).ids), "the scores matter"
        snapshot = next_scores(table, [batch for of_rank in batches for batch in of_rank])


@pytest.mark.parametrize(("save_every", "stop"), [(4, 18), (5, 21)], ids=["in an epoch", "behind an epoch"])
def test_a_killed_run_goes_on_to_the_same_ids_and_scores(example, save_every, stop):
    name, ranks, run, whole = example
    out = f"killed{save_every}"
    begun = run(out, f"begun{save_every}", save_every, stop)
    rest = run(out, f"rest{save_every}", save_every)
    assert [len(of_rank) for of_rank in begun] == [stop - 1] * ranks
    saved = (stop - 1) // save_every * save_every
    if name == "accelerate_loop" and save_every == 4:
        saved = 14  # it counts the batches of an epoch
    for of_rank, first, second in zip(whole, begun, rest, strict=True):
        assert first == of_rank[: stop - 1]
        assert second == of_rank[saved:]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 0), (2, 2)])
def test_lightning_shards_the_order_of_a_sampler(tmp_path, ranks, workers):
    pytest.importorskip("lightning", reason="`make test-frameworks` installs it")
    program = Path(__file__).parent / "lightning_sampler.py"
    recorded, said = run_ranks(program, [ranks, workers, BATCH], ranks, tmp_path / "log")
    assert not [text for text in said if WARNED.search(text)], "\n".join(said)
    table, snapshot = ImportanceTable(N), ImportanceTable(N).snapshot()
    for epoch in range(EPOCHS):
        batches = [batch for of_rank in recorded for batch in of_rank[epoch * STEPS : (epoch + 1) * STEPS]]
        assert sorted(i for ids, _ in batches for i in ids) == sorted(ORDER.plan(epoch, snapshot).ids.tolist())
        snapshot = next_scores(table, batches)
    assert len(batches) == STEPS * ranks


def test_an_order_that_is_sharded_twice_is_said(tmp_path):
    pytest.importorskip("lightning", reason="`make test-frameworks` installs it")
    program = Path(__file__).parent / "lightning_sampler.py"
    _, said = run_ranks(program, [2, 0, BATCH, "--twice"], 2, tmp_path / "log")
    assert "of the 120 ids that epoch 0 planned for all ranks, 60 were not recorded" in said[0], "\n".join(said)
    assert said[0].count("ids that epoch") == 1
