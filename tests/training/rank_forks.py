"""Runs of several ranks, for test_ranks.py, which calls this as a script in a process of its own.

Each rank is a fork, so that a start costs a fraction of a second; what they leave in the folder is judged by the test.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from forks import check_same, finish, is_running, warm_up

from loaders.augment.config import Augment
from loaders.importance import ImportanceTable
from loaders.loader import make_loader
from loaders.order.scheduler import IndexScheduler
from training.budget import Budget
from training.checkpoint import State
from training.ledger import Ledger
from training.loop import StepRule, train_epoch
from training.machine.distributed import OtherRankFailed, join
from training.machine.precision import choose_precision
from training.run import main

CPU = torch.device("cpu")
NUM_SAMPLES, BATCH, EPOCHS = 600, 50, 4


def start(work: Callable[[], int], world_size: int, log: Path) -> list[int]:
    """Fork the ranks; returns their process ids, rank 0 first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(world_size):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        status = 1
        try:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            with open(log, "a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            torch.set_num_threads(1)
            status = work()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return pids


def finish_all(pids: list[int]) -> list[int]:
    return [finish(pid) for pid in pids]


def train_plainly(data: Path, folder: Path) -> int:
    """Four epochs of p-SGD on a network without batch statistics; one file per rank with all that was seen."""
    with join() as ranks:
        network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(torch.linspace(-0.5, 0.5, p.numel()).reshape(p.shape).sin())
        optimizer = torch.optim.SGD([{"params": list(network.parameters()), "base_lr": 0.1}], momentum=0.9)
        state = State(network, [optimizer], ImportanceTable(NUM_SAMPLES), Ledger(NUM_SAMPLES))
        state.network = ranks.distribute(network, CPU)
        augment = Augment(crop_padding=2, flip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
        loader = Spy(make_loader(data / "train.beton", BATCH // ranks.world_size, backend="fused", augment=augment))
        scheduler = IndexScheduler(NUM_SAMPLES, "p-sgd", 0.5, seed=3, batch_size=BATCH)
        steps = len(scheduler) // BATCH
        budget = Budget("steps", EPOCHS * steps, steps)
        rule, curve = StepRule(budget, BATCH, choose_precision("fp32", CPU), {None: 1.0}), []
        for epoch in range(EPOCHS):
            state.plan, state.batch = scheduler.plan(epoch, state.table.snapshot()), 0
            state.loss_sum.zero_()
            list(train_epoch(state, loader, rule, ranks=ranks))
            curve.append(ranks.all_reduce(state.loss_sum.clone()).item() / len(state.plan))
        torch.save(
            {
                "ids": loader.seen,
                "curve": curve,
                "weights": network.state_dict(),
                "snapshot": [torch.from_numpy(values.copy()) for values in state.table.snapshot()],
                "ledger": state.ledger.state_dict(),
            },
            folder / f"{ranks.rank}of{ranks.world_size}.pt",
        )
    return 0


class Spy:
    """A loader that notes the ids of each batch."""

    def __init__(self, loader):
        self.loader, self.seen = loader, []

    def epoch(self, plan, start_batch=0):
        for batch in self.loader.epoch(plan, start_batch):
            self.seen.append(batch.ids.tolist())
            yield batch


def two_ranks(arguments: list[str], log: Path) -> list[int]:
    return start(lambda: main(arguments), 2, log)


def wait_for(path: Path, pids: list[int]) -> None:
    while all(map(is_running, pids)) and not path.exists():
        time.sleep(0.002)


def lose_a_rank(arguments: list[str], work: Path, lost: int) -> None:
    """SIGKILL one of two ranks behind the first checkpoint: the other says so within seconds; then go on."""
    folder, log = work / f"lost{lost}", work / f"lost{lost}.log"
    pids = two_ranks([*arguments, f"--out={folder}"], log)
    wait_for(folder / "checkpoint.pt", pids)
    os.kill(pids[lost], signal.SIGKILL)
    killed = time.monotonic()
    statuses = finish_all(pids)
    assert time.monotonic() - killed < 10
    assert statuses[lost] == -signal.SIGKILL
    assert statuses[1 - lost] == 1
    said = [line for line in log.read_text().splitlines() if line.startswith("error")]
    assert len(said) == 1
    assert "another rank has ended" in said[0]
    assert "--resume" in said[0]
    assert finish_all(two_ranks([f"--resume={folder}"], log)) == [0, 0]


def stop_the_ranks(arguments: list[str], folder: Path) -> None:
    """SIGTERM to rank 1 alone, in the middle of an epoch: both stop behind the same step, and all is saved."""
    log = folder.with_suffix(".log")
    pids = two_ranks([*arguments, f"--out={folder}"], log)
    wait_for(folder / "checkpoint.pt", pids)
    os.kill(pids[1], signal.SIGTERM)
    assert finish_all(pids) == [0, 0]
    assert log.read_text().count("stopped by SIGTERM in epoch") == 1
    assert not (folder / "summary.json").exists()
    assert finish_all(two_ranks([f"--resume={folder}"], log)) == [0, 0]


def mistakes_are_told_once(arguments: list[str], work: Path) -> None:
    for number, (wrong, sentence) in enumerate(
        [
            ("--lr=0", "lr must be above 0, got 0"),
            ("--batch_size=25", "cannot be shared equally by 2 ranks"),
            ("--data=nowhere", "nowhere holds no data set"),
            ("--method=random-batch", "gathers images from several batches in one process"),
        ]
    ):
        log = work / f"mistake{number}.log"
        assert sorted(finish_all(two_ranks([*arguments, wrong], log))) == [1, 2]
        said = [line for line in log.read_text().splitlines() if line.startswith("error")]
        assert len(said) == 1
        assert sentence in said[0]


def fail_alone() -> int:
    """Rank 1 fails with a word of its own; rank 0 waits for it, and has nothing to add."""
    try:
        with join() as ranks:
            if ranks.is_writer:
                ranks.all_reduce_max(1.0)
            raise ValueError("rank 1 says why")
    except ValueError:
        return 2
    except OtherRankFailed:
        return 1


if __name__ == "__main__":
    work, data, arguments = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    warm_up()
    for world_size in (1, 2):
        pids = start(lambda: train_plainly(data, work), world_size, work / "plain.log")
        assert set(finish_all(pids)) == {0}
    assert finish_all(two_ranks([*arguments, f"--out={work / 'whole'}"], work / "whole.log")) == [0, 0]
    lose_a_rank(arguments, work, 0)
    lose_a_rank(arguments, work, 1)
    stop_the_ranks(arguments, work / "stopped")
    ordered = [*arguments, "--method=ordered-sgd", "--keep=0.4", "--mixer=mixup"]
    assert finish_all(two_ranks([*ordered, f"--out={work / 'ordered'}"], work / "ordered.log")) == [0, 0]
    stop_the_ranks(ordered, work / "ordered2")
    check_same(work / "ordered", work / "ordered2")
    mistakes_are_told_once(arguments, work)
    assert finish_all(start(fail_alone, 2, work / "alone.log")) == [1, 2]
    for name in ("lost0", "lost1", "stopped"):
        check_same(work / "whole", work / name)
