"""Training on a GPU beside airbench: `python -m benchmarks.gpu.training --airbench PATH --json PATH`.

Three questions, on CIFAR-10: how should the host launch a step (kernel by kernel, compiled, as a graph); how many
epochs does the preset need for the goal; and what do many seeds of it, trained anew, reach in which time. All runs
share a process, so that start and compilation are paid once. The clock is airbench's: training alone, with choosing and
making batches, behind a warm-up; what is recorded or compiled, and the whitening filters, lie ahead of it, tests behind
it.
`training_rows` is what `benchmarks.gpu` calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from scipy.stats import sem
from scipy.stats import t as student_t

from benchmarks.measure import environment, write
from loaders import open_dataset
from training.arguments import parse_args
from training.config import Config
from training.evaluate.accuracy import test
from training.loop import end_epoch, plan_epoch, train_epoch
from training.machine.memory import keep_freed_memory
from training.setup import make_ready, set_up

CONFIG, GOAL = Path(__file__).parents[2] / "configs/cifar10_gpu.yaml", 0.94
WAYS = {
    "eager": {"compile": False, "graph": False},
    "graph": {"compile": False, "graph": True},
    "compile": {"compile": True, "graph": False},
    "compile + graph": {"compile": True, "graph": True},
}
WAYS_SECONDS = 120  # no further way is begun after these
SHORT = 0.1  # budget of a run that only shows the pace
MORE_EPOCHS, PILOTS = (0, 1, 2, 4, 6, 8), 3  # lengths beyond the preset's that are tried, and seeds at each
FRESH = 1000  # the first seed of those that count: none has chosen its length
AIRBENCH_SECONDS = 400
MEASURES = ("accuracy", "accuracy_tta")


def training_rows(
    data: Path, seeds: int, airbench: Path | None, save: Callable[[dict], None] = lambda result: None
) -> dict:
    """What this benchmark measures, with the preset for 94 %.

    Args:
        data: folder of convert/cifar.py.
        seeds: how many count.
        airbench: airbench94_muon.py, which is run as it is; None leaves it out.
        save: is given what is known, as soon as it is.

    Returns:
        plain values: "ways", "way", "pilots", "airbench", and "seeds": for each of MEASURES the shortest length that
        reached the goal, with its runs and their means.
    """
    return rows_of(CONFIG, GOAL, data, seeds, airbench, save)


def rows_of(
    preset: Path, goal: float, data: Path, seeds: int, airbench: Path | None, save: Callable[[dict], None]
) -> dict:
    """The same with another preset and goal."""
    config, _ = parse_args([f"--config={preset}", f"--data={data}"])
    result: dict = {"preset": preset.name, "goal": goal, "ways": ways(config)}
    save(result)
    rates = {way: row["images_per_second"] for way, row in result["ways"].items() if "failed" not in row}
    result["way"] = max(rates, key=rates.__getitem__)
    config = dataclasses.replace(config, **WAYS[result["way"]])
    result["pilots"], lengths = pilots(config, goal)
    save(result)
    if airbench is not None:
        try:
            result["airbench"] = airbench_rows(airbench, data, seeds)
        except ValueError as error:
            result["airbench"] = {"failed": str(error)}
        save(result)
    result["seeds"], counted = {}, {}
    for measure, length in lengths.items():
        if length not in counted:
            counted[length] = summary([trained(config, FRESH + k, length) for k in range(seeds)])
        result["seeds"][measure] = {"epochs": length, **counted[length]}
        save(result)
    return result


def trained(config: Config, seed: int, epochs: int) -> dict:
    """One run of so many epochs: accuracies from 0 to 1, and the seconds of its training alone."""
    run = set_up(dataclasses.replace(config, seed=seed, epochs=epochs))
    make_ready(run)
    while not run.is_over:
        plan_epoch(run)
        for _ in run.ledger.timed("train", train_epoch(run)):
            pass
        end_epoch(run)
        run.next_epoch()
    tested, spent = test(run, tta=True), run.ledger.summary()
    print(f"{epochs} epochs, seed {seed}: {tested.accuracy:.2%} in {run.ledger.train_seconds:.2f} s", flush=True)
    return {
        "seed": seed,
        "epochs": epochs,
        **{measure: getattr(tested, measure) for measure in MEASURES},
        **{name: spent[name] for name in ("train_seconds", "data_seconds", "images_per_second", "flops")},
    }


def ways(config: Config) -> dict[str, dict]:
    """Images per second of each way to launch a step: of the second of two short runs. One that fails says why."""
    rows: dict[str, dict] = {}
    begin = time.monotonic()
    for way, options in WAYS.items():
        if time.monotonic() - begin > WAYS_SECONDS:
            rows[way] = {"failed": f"not begun: the ways before took {WAYS_SECONDS} s"}
            continue
        short = dataclasses.replace(config, budget=SHORT, **options)
        try:
            trained(short, 0, short.epochs)
            rows[way] = trained(short, 0, short.epochs)
        except Exception as error:  # noqa: BLE001 (a compiler raises anything; the others go on)
            rows[way] = {"failed": f"{type(error).__name__}: {error}"}
    return rows


def pilots(config: Config, goal: float) -> tuple[list[dict], dict[str, int]]:
    """Longer and longer runs until the mean of a few reaches the goal.

    Returns:
        all runs, and the epochs with which each measure reached it; one that never did takes the longest.
    """
    rows, lengths = [], {}
    for more in MORE_EPOCHS:
        epochs = config.epochs + more
        here = [trained(config, seed, epochs) for seed in range(PILOTS)]
        rows += here
        for measure in MEASURES:
            if fmean(row[measure] for row in here) >= goal:
                lengths.setdefault(measure, epochs)
        if len(lengths) == len(MEASURES):
            break
    return rows, {measure: lengths.get(measure, rows[-1]["epochs"]) for measure in MEASURES}


def summary(rows: list[dict]) -> dict:
    """Mean of each measure, half of its 95 % interval (Student's t), the mean seconds, and all rows."""
    means = {}
    for measure in MEASURES:
        values = [row[measure] for row in rows]
        half = float(student_t.ppf(0.975, len(values) - 1) * sem(values)) if len(values) > 1 else None
        means[measure] = {"mean": fmean(values), "half_width_95": half}
    return {"n": len(rows), **means, "train_seconds": fmean(row["train_seconds"] for row in rows), "runs": rows}


def airbench_rows(script: Path, data: Path, runs: int) -> dict:
    """Run a script of airbench as it is, on the same images, and read the table that it prints.

    Its first run warms up and does not count. `train_seconds` is its clock before its test with augmentation.

    Raises:
        ValueError: it ends or takes too long before it has made these runs; what it said last is in the sentence.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cifar10").mkdir()
        for split in ("train", "test"):
            torch.save(as_airbench_has_it(data / f"{split}.beton"), Path(folder) / "cifar10" / f"{split}.pt")
        command = [sys.executable, "-u", str(script.resolve())]
        said, found = [], []
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            late = threading.Timer(AIRBENCH_SECONDS, process.kill)
            late.start()
            try:
                for row in printed_runs(iter(process.stdout.readline, ""), said):
                    found.append(row)
                    if len(found) > runs:
                        return {"script": script.name, **summary(found[1:])}
            finally:
                late.cancel()
                process.kill()
    raise ValueError(f"{script.name} made {len(found)} of {runs + 1} runs; it ended with: {' / '.join(said[-3:])}")


def printed_runs(lines: Iterator[str], said: list[str]) -> Iterator[dict]:
    """The runs of airbench's table: a row for each epoch, and one named eval; `said` gets the lines."""
    names, last = [], {}
    for line in lines:
        said.append(line.strip())
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "epoch" in cells:
            names = cells
            continue
        row = dict(zip(names, cells, strict=True))
        if row["epoch"] == "eval":
            accuracies = {"accuracy": float(last["val_acc"]), "accuracy_tta": float(row["tta_val_acc"])}
            seconds = {"train_seconds": float(last[names[-1]]), "seconds_with_tta": float(row[names[-1]])}
            yield accuracies | seconds
        last = row


def as_airbench_has_it(path: Path) -> dict:
    """Images uint8 [N, 32, 32, 3] and labels int64 [N], as its loader keeps them in a file."""
    dataset = open_dataset(path)
    images = np.stack([dataset.bytes(sample) for sample in range(dataset.num_samples)]).reshape(-1, 32, 32, 3)
    labels = torch.from_numpy(dataset.labels.astype(np.int64))
    return {"images": torch.from_numpy(images), "labels": labels, "classes": [*map(str, range(10))]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="folder of convert/cifar.py")
    parser.add_argument("--preset", type=Path, default=CONFIG, help="settings of the runs")
    parser.add_argument("--goal", type=float, default=GOAL)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--airbench", type=Path, help="airbench94_muon.py or airbench96_faster.py, not part of Rebar")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "benchmarks.gpu.training needs a GPU, and torch sees no CUDA device here: run it on a machine that has one"
        )
        return 2
    keep_freed_memory()
    where = environment() | {"gpu": torch.cuda.get_device_name()}

    def save(result: dict) -> None:
        if args.json:
            write(args.json, {"environment": where, **result})

    result = rows_of(args.preset, args.goal, args.data, args.seeds, args.airbench, save)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
