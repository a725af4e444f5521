"""Accuracy against budget: `python -m benchmarks.training --json PATH` trains the default configuration on CIFAR-10.

Each run is `python -m training.run` in a process and a folder of its own, and is continued where it was cut short: the
benchmark may be stopped at any time and called again. A fixed stack of convolutions is timed before and after each run;
its images per second tell how fast, and how busy, the machine was. The speed of training on a machine that does nothing
else is measured by `benchmarks.training_speed`. Options that are not listed by --help are passed on to `training.run`:
`--config configs/cifar10_94.yaml`, `--precision fp32`.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import torch
import yaml
from scipy.stats import sem
from scipy.stats import t as student_t

from benchmarks.measure import environment, write
from benchmarks.training_plot import draw_budget_curve

BUDGETS = (0.1, 0.3, 1.0)
KEPT = (
    "seed", "test_accuracy", "test_accuracy_tta", "test_loss", "train_loss", "model", "width", "epochs", "steps",
    "samples", "distinct_samples", "flops", "train_seconds", "data_seconds", "plan_seconds", "images_per_second",
    "precision",
)  # fmt: skip


def run(folder: Path, data: str, budget: float, seed: int, options: list[str]) -> dict:
    """Train, continue, or only read the results of one run.

    Returns:
        numbers of the run's summary, the number of starts, and of the last start the threads of torch and the machine's
        speed before and after.
    """
    summary, note = folder / "summary.json", folder / "benchmark.json"
    if not summary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        starts = json.loads(note.read_text())["starts"] if note.exists() else 0
        values = {"starts": starts + 1, "threads": torch.get_num_threads(), "calibration_before": calibrate()}
        note.write_text(json.dumps(values))
        command = [sys.executable, "-m", "training.run", f"--data={data}", f"--budget={budget}", f"--seed={seed}"]
        subprocess.run([*command, *options, "--eval_every=0", "--tta=true", f"--out={folder}", "--resume"], check=True)
        note.write_text(json.dumps({**values, "calibration_after": calibrate()}))
    numbers = json.loads(summary.read_text())
    return {"budget": budget, **{name: numbers[name] for name in KEPT}, **json.loads(note.read_text())}


def settings(folder: Path) -> dict:
    """The settings of a run that must be equal in all runs of a benchmark."""
    values = yaml.safe_load((folder / "config.yaml").read_text())
    return {name: value for name, value in values.items() if name not in ("budget", "seed", "data")}


def calibrate(seconds: float = 8.0, batch_size: int = 250) -> float:
    """Images per second, forward and backward, of three fixed float32 convolutions: mean over some seconds."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 128, 12, 12, generator=generator).to(memory_format=torch.channels_last)
    layers = [torch.nn.Conv2d(128, 128, 3, padding=1, bias=False) for _ in range(3)]
    model = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
    model(images).sum().backward()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        model(images).sum().backward()
        count += 1
    return count * batch_size / (time.perf_counter() - start)


def by_budget(rows: list[dict]) -> list[dict]:
    """Means over the seeds of each budget, and for accuracies the half width of the 95 % interval (Student's t)."""
    result = []
    for budget in sorted({row["budget"] for row in rows}):
        group = [row for row in rows if row["budget"] == budget]
        n = len(group)
        line = {"budget": budget, "n": n}
        for name in ("test_accuracy", "test_accuracy_tta"):
            values = [row[name] for row in group]
            half = float(student_t.ppf(0.975, n - 1) * sem(values)) if n > 1 else None
            line[name] = {"mean": fmean(values), "half_width_95": half, "min": min(values), "max": max(values)}
        result.append(
            line | {name: fmean(row[name] for row in group) for name in ("samples", "flops", "train_seconds")}
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other options go to training.run.")
    parser.add_argument("--json", help="where to write the results")
    parser.add_argument("--plot", help="where to draw accuracy against budget, as PNG")
    parser.add_argument("--data", default="data/cifar10", help="folder of convert/cifar.py")
    parser.add_argument("--runs", default="runs/benchmark", help="folder of the runs; finished ones are not made again")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds; all budgets of one, then of the next")
    parser.add_argument("--finished", action="store_true", help="train nothing: read the runs that are finished")
    args, options = parser.parse_known_args()
    where, rows, first = environment(), [], None
    for seed in range(args.seeds):
        for budget in args.budgets:
            folder = Path(args.runs) / f"b{budget:g}-s{seed}"
            if args.finished and not (folder / "summary.json").exists():
                continue
            rows.append(run(folder, args.data, budget, seed, options))
            first = first or folder
            if settings(folder) != settings(first):
                sys.exit(f"{folder} has other settings than {first} (config.yaml): choose another --runs")
            print(f"budget {budget:g} seed {seed}: {rows[-1]['test_accuracy']:.2%}", flush=True)
    result = {"environment": where, "budgets": by_budget(rows), "runs": rows}
    for line in result["budgets"]:
        print(json.dumps(line))
    if args.json:
        write(args.json, result)
    if args.plot:
        draw_budget_curve(result, args.plot)


if __name__ == "__main__":
    main()
