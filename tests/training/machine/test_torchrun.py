"""The launcher itself: two ranks on one machine, and two machines, which are network namespaces."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and network namespaces")
ROOT = Path(__file__).parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ADDRESSES = ("10.203.77.1", "10.203.77.2")


@contextmanager
def launched(options: list[str], arguments: list[str], log: Path, before=(), **environment: str):
    """A running `torchrun -m training.run`; whatever happens, it and its ranks are gone when the block ends."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    command = [*before, *TORCHRUN, *options, "-m", "training.run", *arguments]
    with open(log, "a") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        ranks = workers(process.pid)
        process.kill()
        process.wait()
        for pid in ranks:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)


def workers(pid: int) -> list[int]:
    """Processes that a launcher has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_with_its_name_and_resume_goes_on(quick_args, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    options = ["--nproc_per_node=2", f"--master_port={free_port()}"]
    arguments = quick_args(out=folder, batch_size=20, epochs=2, eval_every=0)
    with launched(options, arguments, log) as process:
        while process.poll() is None and not (folder / "checkpoint.pt").exists():
            time.sleep(0.01)
        os.kill(workers(process.pid)[1], signal.SIGKILL)
        killed = time.monotonic()
        assert process.wait(60) != 0, log.read_text()
        assert time.monotonic() - killed < 30
    report = log.read_text().partition("Root Cause")[2]
    assert "rank      : 1" in report, log.read_text()
    assert "Signal 9 (SIGKILL)" in report, log.read_text()
    assert not (folder / "summary.json").exists()
    with launched(options, [f"--resume={folder}"], log) as process:
        assert process.wait(120) == 0, log.read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["ranks"], summary["samples"]) == (2, 600)


@pytest.mark.slow
def test_a_resumed_folder_cannot_name_the_code_that_runs(tmp_path):
    method, log = f"{tmp_path / 'mine.py'}:weights", tmp_path / "log"
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(json.dumps({"method": method, "data": "nowhere"}))
    options = ["--nproc_per_node=2", f"--master_port={free_port()}"]
    with launched(options, [f"--resume={tmp_path / 'run'}"], log) as process:
        assert process.wait(60) != 0
    assert log.read_text().count("error: the settings name a Python file to run") == 1, log.read_text()
    assert f"-m training.run --resume={tmp_path / 'run'} --method {method}" in log.read_text()
    assert not (tmp_path / "ran").exists()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def machines():
    """Two network namespaces joined by a cable: their names."""
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip (Debian: iproute2)")
    names = [f"rebar{os.getpid()}{letter}" for letter in "ab"]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            cable = ["name", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1]]
            ip("link", "add", *cable)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            for device in ("wire", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
def test_two_machines_are_one_run(machines, quick_args, tmp_path):
    """They have only the data in common; rank 0 tells the other one all that it reads, and writes alone."""
    logs = [tmp_path / f"{name}.log" for name in machines]
    arguments = [*quick_args(batch_size=20, epochs=2, eval_every=0), f"--out={tmp_path / 'run'}"]
    with launched_on(machines[0], 0, arguments, logs[0]) as a, launched_on(machines[1], 1, arguments, logs[1]) as b:
        assert [a.wait(120), b.wait(120)] == [0, 0], "".join(log.read_text() for log in logs)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["ranks"], summary["samples"]) == (2, 600)
    assert "epoch 2/2" in logs[0].read_text()
    assert "epoch" not in logs[1].read_text()


def launched_on(machine: str, number: int, arguments: list[str], log: Path):
    options = ["--nnodes=2", f"--node_rank={number}", "--nproc_per_node=1"]
    options += [f"--master_addr={ADDRESSES[0]}", "--master_port=29400", f"--local_addr={ADDRESSES[number]}"]
    before = ["ip", "netns", "exec", machine]
    return launched(options, arguments, log, before, GLOO_SOCKET_IFNAME="wire")
