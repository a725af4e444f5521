"""What a loader costs beside its rate: the time to its first batch, the time between two epochs, and memory.

Each first batch and each memory figure is measured in a new process, in turn, after the imports. Compiled kernels are
on disk already where a library keeps them there; only the cold start finds none.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks import loader_peers as peers
from benchmarks.measure import peak_rss, summarise

OURS = "rebar fused"
COLD = f"{OURS}, no kernels on disk"
RATIOS = ("first_batch", "between_epochs")  # for which FFCV's time over ours is reported


def imports(name: str) -> None:
    """Import what a loader needs, ahead of the clock."""
    if name == "FFCV":
        importlib.import_module("ffcv.loader")
        importlib.import_module("ffcv.transforms")


def build(path: str, name: str) -> Iterable:
    """A loader by name, of float32 batches."""
    return (peers.ffcv_loader if name == "FFCV" else peers.rebar_loader)(path, torch.float32)


def first_batch(path: str, name: str) -> float:
    """Seconds from building the loader to its first batch, in this process."""
    imports(name)
    start = time.perf_counter()
    peers.drain(build(path, name), most=1)
    return time.perf_counter() - start


def memory(path: str, name: str) -> int:
    """Bytes by which the largest resident set of this process grows over two epochs, imports excluded."""
    imports(name)
    before = peak_rss()
    loader = build(path, name)
    for _ in range(2):
        peers.drain(loader)
    return peak_rss() - before


def between_epochs(loader: Iterable, epochs: int = 9) -> dict[str, float]:
    """Seconds from the last batch of an epoch to the first of the next, drawing the order included."""
    gaps, last = [], None
    for _ in range(epochs):
        for i, _batch in enumerate(loader):
            if i == 0 and last is not None:
                gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
    return summarise(gaps)


def in_new_process(what: str, path: str, name: str, **environment: str) -> float:
    """The number that `what`, "first_batch" or "memory", gives in a process of its own."""
    run = [sys.executable, "-m", "benchmarks.loader_starts", what, path, name]
    return float(subprocess.check_output(run, env={**os.environ, **environment}).split()[-1])


def all_of(path: str, repeats: int, names: list[str]) -> dict[str, dict]:
    """All figures, for float32 with crop, flip and normalisation; they are printed too."""
    starts = {name: [] for name in names}
    for _ in range(repeats):
        for name, values in starts.items():
            values.append(in_new_process("first_batch", path, name))
    with tempfile.TemporaryDirectory() as folder:
        starts[COLD] = [in_new_process("first_batch", path, OURS, NUMBA_CACHE_DIR=folder)]
    size = Path(path).stat().st_size
    growth = {name: int(in_new_process("memory", path, name)) for name in names}
    result = {
        "first_batch": {name: summarise(values) for name, values in starts.items()},
        "between_epochs": {name: between_epochs(build(path, name)) for name in names},
        "memory": {
            name: {"growth_bytes": value, "dataset_bytes": size, "over_dataset_bytes": value - size}
            for name, value in growth.items()
        },
    }
    for name, row in result["first_batch"].items():
        print(f"start to first batch, {name}: {row['median_s']:.3f} s")
    for name, row in result["between_epochs"].items():
        print(f"between two epochs, {name}: {row['median_s'] * 1e3:.2f} ms")
    for name, value in growth.items():
        print(f"memory, {name}: {value / 2**20:.0f} MiB for a dataset of {size / 2**20:.0f} MiB")
    return result


if __name__ == "__main__":
    print({"first_batch": first_batch, "memory": memory}[sys.argv[1]](*sys.argv[2:]))
