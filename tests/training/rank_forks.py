"""Runs of several ranks, for test_ranks.py, which calls this as a script: PART WORK DATA ARGUMENTS.

Each rank is a fork, so that a start costs a fraction of a second; what they leave in the folder is judged by the test.
"""

import dataclasses
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from forks import check_same, finish, is_running, warm_up
from rich.console import Console

from training.arguments import make_config
from training.loop import end_epoch, plan_epoch, train_epoch
from training.machine.distributed import join
from training.machine.signals import Stopped, StopRequest
from training.run import main, read_settings, run
from training.setup import set_up

PLAIN = {
    "method": "p-sgd",
    "budget": 0.5,
    "epochs": 4,
    "batch_size": 50,
    "seed": 3,
    "model": "resnet8",
    "size_schedule": (),
    "label_smoothing": 0.0,
    "ema": 0.0,
    "precision": "fp32",
    "backend": "fused",
    "device": "cpu",
}


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
        except Exception:  # noqa: BLE001 (the process ends here, and the log must say why)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return pids


def finish_all(pids: list[int]) -> list[int]:
    return [finish(pid) for pid in pids]


def train_plainly(data: Path, folder: Path) -> int:
    """Four epochs of p-SGD on a network without batch statistics; one file per rank with all that was seen."""
    with join() as ranks:
        run, curve = set_up(make_config({**PLAIN, "data": str(data)}), ranks), []
        run.model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
        with torch.no_grad():
            for p in run.model.parameters():
                p.copy_(torch.linspace(-0.5, 0.5, p.numel()).reshape(p.shape).sin())
        group = {"params": list(run.model.parameters()), "base_lr": 0.1}
        run.optimizers = [torch.optim.SGD([group], momentum=0.9)]
        run.network = ranks.distribute(run.model, run.device)
        spy = Spy(run.data.train_loader)
        run.data = dataclasses.replace(run.data, train_loader=spy)
        while not run.is_over:
            plan_epoch(run)
            for _ in train_epoch(run):
                pass
            end_epoch(run)
            curve.append(run.train_loss)
            run.next_epoch()
        torch.save(
            {
                "ids": spy.seen,
                "curve": curve,
                "weights": run.model.state_dict(),
                "snapshot": [torch.from_numpy(values.copy()) for values in run.scores],
                "ledger": run.ledger.state_dict(),
            },
            folder / f"{ranks.rank}of{ranks.world_size}.pt",
        )
    return 0


def normalise(folder: Path) -> int:
    """A step and an evaluation of a network with batch norms, each rank with its part of one batch."""
    with join() as ranks:
        generator = torch.Generator().manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.BatchNorm2d(4, momentum=0.2),
            torch.nn.Tanh(),  # what lies between two norms: without it the gradients of the first would be zero
            torch.nn.Flatten(),
            torch.nn.BatchNorm1d(36, affine=False),
        )
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.rand(p.shape, generator=generator) + 0.5)
        images = torch.randn(12, 3, 5, 5, generator=generator)
        part = images[ranks.rank :: ranks.world_size]
        network = ranks.distribute(model, torch.device("cpu"))
        out = network(part)
        (out.sin() * torch.arange(36.0)).sum(1).mean().backward()
        torch.save(
            {
                "out": out.detach(),
                "gradients": [p.grad for p in model.parameters()],
                "running": dict(model.named_buffers()),
                "evaluated": model.eval()(part).detach(),
            },
            folder / f"norm{ranks.rank}of{ranks.world_size}.pt",
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


class StopAfter(StopRequest):
    """A signal that comes when a run has asked for it `times` times, about once a batch."""

    def __init__(self, times: int | None):
        self.left = times

    @property
    def signal(self) -> int | None:
        if self.left is None:
            return None
        self.left -= 1
        return signal.SIGTERM if self.left < 0 else None


def go_on(arguments: list[str], folder: Path, world_size: int, batches: int | None) -> None:
    """Continue a run on so many ranks, for about so many batches; None is to its end."""

    def work() -> int:
        with join() as ranks:
            config, resume = read_settings([*arguments, f"--out={folder}", "--resume"], ranks)
            try:
                run(config, resume, Console(quiet=not ranks.is_writer), StopAfter(batches), ranks)
            except Stopped:
                return 3
        return 0

    log = folder.with_suffix(".log")
    assert set(finish_all(start(work, world_size, log))) == {0 if batches is None else 3}, log.read_text()
    if batches is not None:
        shutil.copy(folder / "checkpoint.pt", folder.with_suffix(f".{world_size}.pt"))


def elastic(arguments: list[str], work: Path, data: Path) -> None:
    """A run of one rank, and the same begun on one rank, gone on with on two, ended on three."""
    go_on(arguments, work / "one", 1, None)
    go_on(arguments, work / "more", 1, 5)
    go_on(arguments, work / "more", 2, 4)
    go_on(arguments, work / "more", 3, None)


def elastic_twice(arguments: list[str], work: Path, data: Path) -> None:
    """A run of one rank, and the same ended on two."""
    go_on(arguments, work / "one", 1, None)
    go_on(arguments, work / "more", 1, 5)
    go_on(arguments, work / "more", 2, None)


def two_ranks(arguments: list[str], log: Path) -> list[int]:
    return start(lambda: main(arguments), 2, log)


def wait_for(path: Path, pids: list[int]) -> None:
    while all(map(is_running, pids)) and not path.exists():
        time.sleep(0.002)


def lose_a_rank(arguments: list[str], work: Path, lost: int) -> None:
    """SIGKILL one of two ranks behind the first checkpoint: the other ends within seconds with torch's error; then go
    on."""
    folder, log = work / f"lost{lost}", work / f"lost{lost}.log"
    pids = two_ranks([*arguments, f"--out={folder}"], log)
    wait_for(folder / "checkpoint.pt", pids)
    os.kill(pids[lost], signal.SIGKILL)
    killed = time.monotonic()
    statuses = finish_all(pids)
    assert time.monotonic() - killed < 10
    assert statuses[lost] == -signal.SIGKILL
    assert statuses[1 - lost] == 1
    assert log.read_text().count("with --resume continues from the last checkpoint") == 1, log.read_text()
    assert not (folder / "summary.json").exists()
    assert finish_all(two_ranks([f"--resume={folder}"], log)) == [0, 0]


def stop_the_ranks(arguments: list[str], folder: Path) -> None:
    """SIGTERM to rank 1 alone, in the middle of an epoch: both stop behind the same step, and all is saved."""
    log = folder.with_suffix(".log")
    pids = two_ranks([*arguments, f"--out={folder}"], log)
    wait_for(folder / "checkpoint.pt", pids)
    os.kill(pids[1], signal.SIGTERM)
    assert finish_all(pids) == [143, 143]
    assert log.read_text().count("stopped by SIGTERM in epoch") == 1
    assert not (folder / "summary.json").exists()
    assert finish_all(two_ranks([f"--resume={folder}"], log)) == [0, 0]


def mistakes_are_told_once(arguments: list[str], work: Path) -> None:
    for number, (wrong, sentence) in enumerate(
        [
            ("--lr=0", "lr must be above 0, got 0"),
            ("--batch_size=25", "cannot be split equally over 2 ranks"),
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
    """Rank 1 fails with a word of its own; rank 0 waits for it and ends with torch's error (status 1 of `start`)."""
    try:
        with join() as ranks:
            if ranks.is_writer:
                ranks.all_reduce_max(1.0)
            raise ValueError("rank 1 says why")
    except ValueError:
        return 2


def whole(arguments: list[str], work: Path, data: Path) -> None:
    """What nothing disturbs: plain runs of one rank and of two, and a run of two by the command line."""
    for world_size in (1, 2):
        pids = start(lambda: train_plainly(data, work), world_size, work / "plain.log")
        assert set(finish_all(pids)) == {0}
        assert set(finish_all(start(lambda: normalise(work), world_size, work / "norm.log"))) == {0}
    for name, changes in (("whole", []), ("ordered", ORDERED)):
        pids = two_ranks([*arguments, *changes, f"--out={work / name}"], work / f"{name}.log")
        assert finish_all(pids) == [0, 0]


def mistakes(arguments: list[str], work: Path, data: Path) -> None:
    mistakes_are_told_once(arguments, work)
    assert finish_all(start(fail_alone, 2, work / "alone.log")) == [1, 2]


def disturbed(arguments: list[str], work: Path, data: Path) -> None:
    """Runs that lose a rank or are stopped end, once resumed, in the bits of those that `whole` has left."""
    lose_a_rank(arguments, work, 0)
    lose_a_rank(arguments, work, 1)
    stop_the_ranks(arguments, work / "stopped")
    stop_the_ranks([*arguments, *ORDERED], work / "ordered2")
    check_same(work / "ordered", work / "ordered2")
    for name in ("lost0", "lost1", "stopped"):
        check_same(work / "whole", work / name)


ORDERED = ["--method=ordered-sgd", "--keep=0.4", "--mixer=mixup"]

if __name__ == "__main__":
    part, work, data, arguments = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    warm_up()
    parts = (whole, mistakes, disturbed, elastic, elastic_twice)
    {function.__name__: function for function in parts}[part](arguments, work, data)
