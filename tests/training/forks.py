"""Runs that are killed, for test_resume.py, which calls this as a script: WORK KILLS_WHILE_SAVING KILLS ARGUMENTS.

Everything is imported once and each run is a fork, so that a start costs a fraction of a second. This process must not
compute with torch: threads do not survive a fork.
"""

import json
import os
import random  # noqa: TID251 (instants of kills)
import signal
import sys
import time
from pathlib import Path

import matplotlib.pyplot  # noqa: F401
import numpy as np
import torch

from loaders.order.scheduler import IndexScheduler
from loaders.types import Snapshot
from training.ledger import count_flops
from training.run import main


def warm_up() -> None:
    """Load what every run would load late: compiled kernels, pyplot, half of torch. Nothing is computed by torch."""
    visits, error = np.arange(100) % 3, np.linspace(0, 1, 100)
    snapshot = Snapshot(*(np.float32(values) for values in (visits, *[error] * 6)))
    IndexScheduler(100, "p-sgd", 0.5, batch_size=5).plan(1, snapshot)
    count_flops(torch.nn.Conv2d(3, 8, 3, device="meta"), (3, 8, 8))


def start(arguments: list[str], log: Path) -> int:
    """Fork a run; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        status = main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(status)


def finish(pid: int) -> int:
    """Wait; returns the exit status, or minus the signal's number."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def content(folder: Path) -> dict:
    """The final checkpoint without what may differ: the clock."""
    loaded = torch.load(folder / "checkpoint.pt", weights_only=True)
    for values in (loaded["config"], loaded["ledger"]):
        for key in [key for key in values if key.endswith("_seconds") or key == "out"]:
            del values[key]
    return loaded


def same(a, b) -> bool:
    """Equal to the bit, tensors too."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def records(folder: Path) -> list[dict]:
    """metrics.jsonl and summary.json without the clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows.append(json.loads((folder / "summary.json").read_text()))
    return [{k: v for k, v in row.items() if "second" not in k and k != "name"} for row in rows]


def check_same(expected: Path, got: Path) -> None:
    wanted, found = content(expected), content(got)
    assert wanted.keys() == found.keys()
    different = [key for key in wanted if not same(wanted[key], found[key])]
    assert not different, f"not equal to the bit: {different}"
    assert records(expected) == records(got)
    assert not list(got.glob(".*.tmp")), "a temporary file was left"


def uninterrupted(arguments: list[str], work: Path) -> float:
    """Makes work/whole; returns the seconds of a run for which all that it compiles is on disk already."""
    for name in ("first", "whole"):
        began = time.perf_counter()
        assert finish(start([*arguments, f"--out={work / name}"], work / f"{name}.log")) == 0
    return time.perf_counter() - began


def kill_anywhere(arguments: list[str], work: Path, seconds: float, kills: int) -> None:
    """SIGKILL at `kills` random instants of one run after another, resumed each time."""
    draw, done, run = random.Random(0), 0, 0
    while done < kills:
        run += 1
        folder = work / f"killed{run}"
        while done < kills and not (folder / "summary.json").exists():
            pid = start([*arguments, f"--out={folder}", "--resume"], work / "killed.log")
            time.sleep(draw.uniform(0, 0.6 * seconds))
            done += is_running(pid)
            os.kill(pid, signal.SIGKILL)
            finish(pid)
        assert finish(start([*arguments, f"--out={folder}", "--resume"], work / "killed.log")) == 0
        check_same(work / "whole", folder)


def kill_while_saving(arguments: list[str], work: Path, kills: int) -> None:
    """SIGKILL as soon as a checkpoint is being written, `kills` times; one that comes too late is tried again."""
    run = caught = 0
    while caught < kills:
        run += 1
        folder = work / f"saving{run}"
        while caught < kills and not (folder / "summary.json").exists():
            pid = start([*arguments, f"--out={folder}", "--resume"], work / "saving.log")
            while is_running(pid) and not list(folder.glob(".checkpoint.pt.*.tmp")):
                pass
            os.kill(pid, signal.SIGKILL)
            finish(pid)
            caught += bool(list(folder.glob(".checkpoint.pt.*.tmp")))
        assert run < 20, "no kill comes in the middle of a write"
        assert finish(start([*arguments, f"--out={folder}", "--resume"], work / "saving.log")) == 0
        check_same(work / "whole", folder)


def stop(arguments: list[str], work: Path, number: int, status: int) -> None:
    """A signal in the middle of an epoch: all is saved, and the exit status says so."""
    name = signal.Signals(number).name
    folder, log = work / name, work / f"{name}.log"
    pid = start([*arguments, f"--out={folder}"], log)
    while is_running(pid) and not (folder / "checkpoint.pt").exists():
        time.sleep(0.001)
    os.kill(pid, number)
    assert finish(pid) == status
    assert f"stopped by {name} in epoch" in log.read_text()
    assert f"--resume {folder}" in log.read_text().replace("\n", "")
    saved = content(folder)
    visits = saved["table"]["total"][:, 0] + saved["table"]["epoch"][:, 0]
    assert abs(visits.sum().item() - saved["ledger"]["samples"]) < 1e-2
    assert not (folder / "summary.json").exists()
    assert finish(start(["--resume", str(folder)], log)) == 0
    check_same(work / "whole", folder)


if __name__ == "__main__":
    work, saving, anywhere, arguments = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    warm_up()
    seconds = uninterrupted(arguments, work)
    stop(arguments, work, signal.SIGTERM, 143)
    stop(arguments, work, signal.SIGINT, 130)
    kill_while_saving(arguments, work, saving)
    kill_anywhere(arguments, work, seconds, anywhere)
