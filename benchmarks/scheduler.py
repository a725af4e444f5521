"""The time to draw an epoch's order, beside its peers: `python -m benchmarks.scheduler --json PATH`.

Draws 30 % of N ids in random order, by weight and uniformly, with each design, for N from 50,000 to 10^8. The peers
draw as many without replacement; argpartition leaves them in no random order, and torch.multinomial stops at 2^24
weights. Peak memory is measured in a process of its own and does not count the weights.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.measure import environment, interleave, peak_rss, reset_peak, write
from loaders import IndexScheduler

BUDGET = 0.3
DESIGNS = ("race", "systematic", "replacement", "paged")
SIZES = (50_000, 1_281_167, 10_000_000, 100_000_000)
SLOW = {"np.random.choice", "numpy.Generator.choice"}  # timed once at 10^7; minutes at 10^8, so left out there
MEMORY = {"race, weighted", "race, uniform", "systematic, weighted", "torch.multinomial", "np.random.choice"}


def weights_for(n: int) -> np.ndarray:
    """Weights like those of p-SGD in the middle of training: many near 0, few near 1, plus their mean; float32 [N]."""
    scores = np.random.default_rng(0).beta(0.3, 1.2, n).astype(np.float32)
    return scores + scores.mean()


def numpy_race(weights: np.ndarray, k: int) -> np.ndarray:
    """A weighted draw of k ids without replacement: the k smallest of exponential times divided by the weights."""
    keys = np.random.default_rng(0).standard_exponential(len(weights)) / weights
    return np.argpartition(keys, k)[:k]


def contenders(n: int, weights: np.ndarray, peers: bool) -> dict:
    """Calls by name, each of which draws floor(0.3 N) ids."""
    import torch

    k = int(n * BUDGET)
    calls = {}
    for design in DESIGNS:
        weighted = IndexScheduler(n, lambda _: weights, budget=BUDGET, design=design)
        uniform = IndexScheduler(n, budget=BUDGET, design=design)
        calls[f"{design}, weighted"] = lambda plan=weighted.plan: plan(0)
        calls[f"{design}, uniform"] = lambda plan=uniform.plan: plan(0)
    if not peers:
        return calls
    old, new = np.random.RandomState(0), np.random.default_rng(0)
    tensor = torch.from_numpy(weights)

    def p():
        p = weights.astype(np.float64)
        p /= p.sum()
        return p

    calls["np.random.choice"] = lambda: old.choice(n, k, replace=False, p=p())
    calls["numpy.Generator.choice"] = lambda: new.choice(n, k, replace=False, p=p())
    calls["numpy exponentials + argpartition"] = lambda: numpy_race(weights, k)
    calls["torch.randperm(N)[:K]"] = lambda: torch.randperm(n)[:k]
    if n < 2**24:
        calls["torch.multinomial"] = lambda: torch.multinomial(tensor, k, replacement=False)
    return calls


def time_all(n: int) -> dict[str, dict[str, float]]:
    """Times of all contenders for n samples, and peak memory of some; prints the medians."""
    weights = weights_for(n)
    calls = contenders(n, weights, peers=True)
    slow = {name: calls.pop(name) for name in SLOW & set(calls)} if n >= 10_000_000 else {}
    repeats = 31 if n <= 100_000 else 11 if n <= 2_000_000 else 5 if n <= 10_000_000 else 3
    times = interleave(calls, repeats)
    if n <= 10_000_000:
        times |= interleave(slow, 1, warm_up=0)
    for name, row in times.items():
        if n >= 1_000_000 and name in MEMORY:
            row["peak_bytes"] = in_child("--peak", name, str(n))
        row["ns_per_item"] = row["median_s"] / n * 1e9
        print(f"{n:>11,}  {name:34}{row['median_s'] * 1e3:12.2f} ms", flush=True)
    return times


def in_child(*args: str) -> float:
    """The last number that this module prints when it is called with these options."""
    return float(subprocess.check_output([sys.executable, "-m", "benchmarks.scheduler", *args]).split()[-1])


def peak(name: str, n: int) -> int:
    """Bytes by which one call lets the largest resident set grow, once the compiled kernels are loaded."""
    contenders(50_000, weights_for(50_000), peers=True).get(name, lambda: None)()
    call = contenders(n, weights_for(n), peers=True)[name]
    reset_peak()
    before = current_rss()
    call()
    return max(0, peak_rss() - before)


def current_rss() -> int:
    """Bytes of the resident set now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


FIRST = "from benchmarks.scheduler import first_call; print(first_call())"


def first_call() -> float:
    """Seconds of the first weighted draw in a new process, imports excluded; the kernels are compiled on disk."""
    scheduler = IndexScheduler(50_000, lambda _: np.linspace(1, 2, 50_000, dtype=np.float32), budget=BUDGET)
    start = time.perf_counter()
    scheduler.plan(0)
    return time.perf_counter() - start


def billion() -> tuple[float, int]:
    """Seconds to draw 10^7 of 10^9 ids by float32 weights, and bytes that it takes beside the weights."""
    n = 1_000_000_000
    weights = np.empty(n, np.float32)
    for start in range(0, n, 10_000_000):
        weights[start : start + 10_000_000] = np.linspace(0.1, 1, 10_000_000, dtype=np.float32)
    IndexScheduler(50_000, lambda _: weights[:50_000], budget=0.01).plan(0)
    before, start = current_rss(), time.perf_counter()
    plan = IndexScheduler(n, lambda _: weights, budget=0.01).plan(0)
    elapsed = time.perf_counter() - start
    assert len(plan) == 10_000_000
    return elapsed, peak_rss() - before


def ratios(times: dict[int, dict]) -> dict[str, float]:
    """A peer's median time over ours, by what is compared."""
    result = {}
    for n, rows in times.items():
        ours, uniform = rows["race, weighted"]["median_s"], rows["race, uniform"]["median_s"]
        for name in ("np.random.choice", "torch.multinomial", "numpy exponentials + argpartition"):
            if name in rows:
                result[f"{name} / race at {n:,}"] = rows[name]["median_s"] / ours
        result[f"torch.randperm / uniform race at {n:,}"] = rows["torch.randperm(N)[:K]"]["median_s"] / uniform
    for design in DESIGNS:
        per_item = [rows[f"{design}, weighted"]["ns_per_item"] for n, rows in times.items() if n >= 1_000_000]
        if per_item:
            result[f"time per item, largest / smallest from 1.28M on, {design}"] = max(per_item) / min(per_item)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--skip-billion", action="store_true", help="leave out 10^7 of 10^9 (needs 6 GB of memory)")
    parser.add_argument("--peak", nargs=2, metavar=("NAME", "N"), help=argparse.SUPPRESS)
    parser.add_argument("--billion", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(args.peak[0], int(args.peak[1])))
        return
    if args.billion:
        print(*billion())
        return
    where = environment()
    calls = [float(subprocess.check_output([sys.executable, "-c", FIRST])) for _ in range(6)]
    first = min(calls[1:])  # the very first fills the cache on disk
    times = {n: time_all(n) for n in args.sizes}
    result = {"budget": BUDGET, "environment": where, "first_call_s": first, "times": times, "ratios": ratios(times)}
    if not args.skip_billion:
        out = subprocess.check_output([sys.executable, "-m", "benchmarks.scheduler", "--billion"]).split()
        result["10^7 of 10^9"] = {"seconds": float(out[-2]), "bytes_beside_weights": int(out[-1])}
    for name, value in result["ratios"].items():
        print(f"{name:70}{value:9.1f}")
    if args.json:
        write(args.json, result)


if __name__ == "__main__":
    main()
