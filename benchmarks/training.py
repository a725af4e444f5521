"""Accuracy against budget: `python -m benchmarks.training --json PATH` trains the default configuration on CIFAR-10.

Each run is `python -m training.run` in a process and a folder of its own, continued where it was cut short; so all
may be stopped and called again. Around each run a fixed step is timed: its images per second tell how fast the machine
was then, and let another machine's seconds be compared.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import torch
import yaml
from scipy.stats import t as student_t

from benchmarks.measure import environment, write
from benchmarks.training_plot import draw_budget_curve
from loaders.types import Batch
from training.config import Config
from training.ledger import count_flops
from training.loop import train_step
from training.machine.memory import keep_freed_memory
from training.machine.precision import choose_precision
from training.models.build import build_model
from training.optim.build import build_optimizers
from training.report.folder import CONFIG

BUDGETS = (0.1, 0.2, 0.3, 0.5, 1.0)
CPU = torch.device("cpu")
KEPT = (
    "seed", "test_accuracy", "test_accuracy_tta", "test_loss", "train_loss", "epochs", "batch_size", "steps", "samples",
    "distinct_samples", "flops", "train_seconds", "data_seconds", "plan_seconds", "images_per_second", "precision",
)  # fmt: skip


def run(folder: Path, data: str, budget: float, seed: int, others: list[str]) -> dict:
    """Train, or continue, or read what is there; returns the summary's numbers with the machine's speed around the run.

    The speed is of the last start; a run that was continued says how often it was started.
    """
    summary, mine = folder / "summary.json", folder / "benchmark.json"
    if not summary.exists():
        starts = json.loads(mine.read_text())["starts"] if mine.exists() else 0
        folder.mkdir(parents=True, exist_ok=True)
        note = {"starts": starts + 1, "calibration_before": calibrate()}
        mine.write_text(json.dumps(note))
        command = [sys.executable, "-m", "training.run", f"--data={data}", f"--budget={budget}", f"--seed={seed}"]
        subprocess.run([*command, *others, "--eval_every=0", "--tta=true", f"--out={folder}", "--resume"], check=True)
        mine.write_text(json.dumps({**note, "calibration_after": calibrate()}))
    numbers, width = json.loads(summary.read_text()), settings(folder)["width"]
    return {"budget": budget, "width": width, **{name: numbers[name] for name in KEPT}, **json.loads(mine.read_text())}


def settings(folder: Path) -> dict:
    """Those of a run, but what is meant to differ."""
    values = yaml.safe_load((folder / CONFIG).read_text())
    return {name: value for name, value in values.items() if name not in ("budget", "seed", "data")}


def calibrate(seconds: float = 8.0) -> float:
    """Images per second of one fixed training step: the default network, 32 pixels, 250 made-up images."""
    _, step, batch_size = _fixed_step()
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        count += 1
    return count * batch_size / (time.perf_counter() - start)


def _fixed_step(batch_size: int = 250):
    keep_freed_memory()
    draw = torch.Generator().manual_seed(0)
    model = build_model("rebarnet", 10, generator=draw)
    optimizers, precision = build_optimizers(model, Config(data="")), choose_precision("auto", CPU)
    images = torch.randn(batch_size, 3, 32, 32, generator=draw).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size,), generator=draw)
    batch = Batch(images, labels, torch.arange(batch_size), None, None)
    return model, lambda: train_step(model, optimizers, batch, precision), batch_size


def peak_flops(dtype: torch.dtype, seconds: float = 3.0) -> float:
    """Multiply-adds of a 2,048 x 2,048 matrix product by torch, times two, per second."""
    a = torch.randn(2048, 2048, dtype=dtype)
    rates, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ a
        rates.append(2 * 2048**3 / (time.perf_counter() - start))
    return max(rates)


def profile_step() -> list[dict]:
    """Where the fixed step's time goes: share of each operator that takes at least 1 %, the largest first."""
    _, step, _ = _fixed_step()
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(5):
            step()
    rows = profiler.key_averages()
    total = sum(row.self_cpu_time_total for row in rows)
    shares = sorted(((row.self_cpu_time_total / total, row.key) for row in rows), reverse=True)
    return [{"operator": name, "share": round(share, 4)} for share, name in shares if share >= 0.01]


def by_budget(rows: list[dict]) -> list[dict]:
    """Mean and half width of the 95 % interval over the seeds of each budget."""
    result = []
    for budget in sorted({row["budget"] for row in rows}):
        some = [row for row in rows if row["budget"] == budget]
        line = {"budget": budget, "n": len(some)}
        for name in ("test_accuracy", "test_accuracy_tta"):
            values = [row[name] for row in some]
            n = len(values)
            half = student_t.ppf(0.975, n - 1) * stdev(values) / math.sqrt(n) if n > 1 else None
            line[name] = {"mean": fmean(values), "half_width_95": half, "min": min(values), "max": max(values)}
        for name in ("train_seconds", "images_per_second", "flops", "samples"):
            line[name] = fmean(row[name] for row in some)
        line["data_fraction"] = sum(row["data_seconds"] for row in some) / sum(row["train_seconds"] for row in some)
        result.append(line)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result; the curve is drawn beside it as PNG, or to --plot")
    parser.add_argument("--plot", help="where to draw accuracy against budget")
    parser.add_argument("--data", default="data/cifar10")
    parser.add_argument("--runs", default="runs/benchmark", help="folder of the runs; finished ones are not made again")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--finished", action="store_true", help="train nothing: the result of the runs that are there")
    args, others = parser.parse_known_args()
    where = environment()
    model = _fixed_step()[0]
    counted = count_flops(model, (3, 32, 32))[1]
    format_of_peak = choose_precision("auto", CPU).dtype or torch.float32
    peak, speed = peak_flops(format_of_peak), calibrate()
    rows, first = [], None
    for seed in range(args.seeds):
        for budget in args.budgets:
            folder = Path(args.runs) / f"b{budget:g}-s{seed}"
            if args.finished and not (folder / "summary.json").exists():
                continue
            rows.append(run(folder, args.data, budget, seed, others))
            first = first or folder
            if settings(folder) != settings(first):
                sys.exit(f"{folder} has other settings than {first} (config.yaml): choose another --runs")
            print(f"budget {budget:g} seed {seed}: {rows[-1]['test_accuracy']:.2%}", flush=True)
    step = {
        "images_per_second": speed,
        "flops_per_second": speed * counted,
        "peak_flops_per_second": peak,
        "peak_of": f"torch's matrix product in {str(format_of_peak).removeprefix('torch.')}",
        "fraction_of_peak": speed * counted / peak,
        "operators": profile_step(),
    }
    result = {"environment": where, "fixed_step": step, "budgets": by_budget(rows), "runs": rows}
    for line in result["budgets"]:
        print(json.dumps(line))
    if args.json:
        write(args.json, result)
    if args.plot or args.json:
        draw_budget_curve(result, args.plot or Path(args.json).with_suffix(".png"))


if __name__ == "__main__":
    main()
