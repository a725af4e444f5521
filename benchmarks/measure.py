"""What all benchmarks use: interleaved repetitions, their medians and quartiles, and a description of the machine.

A claim is a ratio between peers measured in one run. Their repetitions take turns, so that all of them meet the same
drift of the machine's speed.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from loaders.formats.atomic import atomic_path

VERSIONS = (
    "torch",
    "numpy",
    "numba",
    "triton",
    "simplejpeg",
    "opencv-python",
    "ffcv",
    "nvidia-dali-cuda120",
    "nvidia-nvimgcodec-cu12",
    "spdl",
)


def interleave(calls: dict[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, dict[str, float]]:
    """Time the calls in turn: A B C A B C ...

    A call that takes less than 5 ms is repeated within its turn, and the mean counts as one repetition.

    Args:
        calls: what to time, by name.
        repeats: timed turns.
        warm_up: turns ahead of them that are not counted.

    Returns:
        `summarise` of each call's times, by name.
    """
    times = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            count, elapsed, start = 0, 0.0, time.perf_counter()
            while elapsed < 0.005:
                call()
                count, elapsed = count + 1, time.perf_counter() - start
            if turn >= warm_up:
                times[name].append(elapsed / count)
    return {name: summarise(values) for name, values in times.items()}


def summarise(seconds: list[float]) -> dict[str, float]:
    """Median, minimum, maximum and quartiles of times in seconds, and their number."""
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "q1_s": quartiles[0],
        "q3_s": quartiles[2],
        "n": len(seconds),
    }


def environment() -> dict[str, object]:
    """Processor, number of cores, load at the start, and the versions of all that was measured."""
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "instruction_sets": sorted(
            {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(cpuinfo.read_text().replace("\n", " ").split())
        ),
        "cores": available_cores(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def reset_peak() -> None:
    """Begin a new measurement of `peak_rss`."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """Bytes of the largest resident set since the start or `reset_peak`; unlike `ru_maxrss`, not the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def write(path: str | Path, result: dict) -> None:
    """Write a result as JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
