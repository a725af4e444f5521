"""What all benchmarks share: interleaved repetitions, medians with their intervals, and where it was measured.

A claim is a ratio between peers in one run; repetitions take turns, so that a drift of the machine's speed meets all.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

VERSIONS = ("torch", "numpy", "numba", "triton", "ffcv", "nvidia-dali-cuda120", "spdl")


def interleave(calls: dict[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, dict[str, float]]:
    """Time the calls in turn, A B C A B C ...; a call of less than 5 ms is repeated in its turn and the mean counts.

    Returns:
        for each name the median, the smallest and the largest time in seconds, the interquartile range, and n.
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
    """Processor, cores, load at the start, and the versions of what was measured."""
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
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def reset_peak() -> None:
    """Begin a new measurement of `peak_rss`."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """Bytes of the largest resident size since the start or `reset_peak`; unlike `ru_maxrss` without the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def write(path: str, result: dict) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(result, indent=1) + "\n")
