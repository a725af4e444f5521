"""Training on a GPU beside airbench: `python -m benchmarks.gpu.training --airbench PATH --json PATH`.

Three questions, on CIFAR-10: how should the host launch a step (kernel by kernel, compiled, as a graph); how many
epochs does the preset need for the goal; and what do many seeds of it, trained anew, reach in which time. All runs
share a process, so that start and compilation are paid once. The clock is airbench's: training alone, with choosing and
making batches, behind a warm-up; what is recorded or compiled lies ahead of it, tests behind it. The whitening filters
lie ahead of ours and are on airbench's, where they take some milliseconds.
`training_rows` is what `benchmarks.gpu` calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
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
from loaders.formats.sentence import one_line
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
COMPILE_SECONDS = 90  # that the first way which compiles may take, which nothing can stop
# The parts of a limit behind which no further way is tried, no greater length, and no further seed (but for airbench).
WAYS_END, PILOTS_END, SEEDS_END = 0.4, 0.55, 0.7
SHORT = 0.1  # budget of a run that only shows the pace
MORE_EPOCHS, PILOTS = (0, 1, 2, 4, 6, 8), 3  # lengths beyond the preset's that are tried, and seeds at each
FRESH = 1000  # the first seed of those that count: none has chosen its length
AIRBENCH_SECONDS = 400
MEASURES = ("accuracy", "accuracy_tta")


def training_rows(
    data: Path,
    seeds: int,
    airbench: Path | None,
    save: Callable[[dict], None] = lambda result: None,
    seconds: float = math.inf,
) -> dict:
    """What this benchmark measures, with the preset for 94 %.

    Args:
        data: folder of convert/cifar.py.
        seeds: how many count.
        airbench: airbench94_muon.py, which is run as it is; None leaves it out.
        save: is given what is known, after each run.
        seconds: in which all should be done. Where they do not suffice, ways and lengths are left out and fewer runs
            are made, at least two seeds; each result tells its number, `n`.

    Returns:
        plain values: "ways", "way", "pilots", "seeds": for each of MEASURES the shortest length that reached the goal,
        with its runs and their means; and "airbench".
    """
    return rows_of(CONFIG, GOAL, data, seeds, airbench, save, seconds)


def rows_of(
    preset: Path,
    goal: float,
    data: Path,
    seeds: int,
    airbench: Path | None,
    save: Callable[[dict], None],
    seconds: float = math.inf,
) -> dict:
    """The same with another preset and goal."""
    begin = time.monotonic()
    config, _ = parse_args([f"--config={preset}", f"--data={data}"])
    result: dict = {"preset": preset.name, "goal": goal}

    def know(name: str, value: object) -> None:
        result[name] = value
        save(result)

    found = ways(config, lambda rows: know("ways", rows), WAYS_END * seconds)
    rates = {way: row["images_per_second"] for way, row in found.items() if "failed" not in row}
    if rates:
        know("way", max(rates, key=rates.__getitem__))
        config = dataclasses.replace(config, **WAYS[result["way"]])
        _, lengths = pilots(config, goal, lambda rows: know("pilots", rows), begin + PILOTS_END * seconds)
        end = begin + (SEEDS_END if airbench else 1.0) * seconds
        runs: dict[int, list[dict]] = {length: [] for length in lengths.values()}
        for length, rows in runs.items():
            while len(rows) < seeds and (len(rows) < 2 or time.monotonic() < end):
                rows.append(trained(config, FRESH + len(rows), length))
                done = {measure: each for measure, each in lengths.items() if runs[each]}
                know("seeds", {measure: {"epochs": each, **summary(runs[each])} for measure, each in done.items()})
    if airbench is not None:
        left = min(AIRBENCH_SECONDS, begin + seconds - time.monotonic())
        try:
            know("airbench", airbench_rows(airbench, data, seeds, left, lambda rows: know("airbench", rows)))
        except ValueError as error:
            know("airbench", {"failed": str(error)})
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


def ways(
    config: Config, save: Callable[[dict], None] = lambda rows: None, seconds: float = math.inf
) -> dict[str, dict]:
    """Images per second of each way to launch a step: of the second of two short runs. One that fails says why."""
    rows: dict[str, dict] = {}
    begin, to_compile = time.monotonic(), COMPILE_SECONDS
    for way, options in WAYS.items():
        spent = time.monotonic() - begin
        if spent > WAYS_SECONDS:
            rows[way] = {"failed": f"not begun: the ways before took {spent:.0f} s"}
            continue
        if rows and spent + (to_compile if options["compile"] else 0) > seconds:
            rows[way] = {"failed": f"not begun: too little of {seconds:.0f} s was left"}
            continue
        to_compile = 0 if options["compile"] else to_compile
        short = dataclasses.replace(config, budget=SHORT, **options)
        try:
            trained(short, 0, short.epochs)
            rows[way] = trained(short, 0, short.epochs)
        except Exception as error:  # noqa: BLE001 (a compiler raises anything; the others go on)
            rows[way] = {"failed": one_line(f"{type(error).__name__}: {error}", 300)}
        save(rows)
    return rows


def pilots(
    config: Config, goal: float, save: Callable[[list[dict]], None] = lambda rows: None, end: float = math.inf
) -> tuple[list[dict], dict[str, int]]:
    """Longer and longer runs until the mean of a few reaches the goal.

    Args:
        save: is given all runs, after each length.
        end: on the clock of `time.monotonic`, behind which no greater length is begun.

    Returns:
        all runs, and the epochs with which each measure reached it; one that never did takes the longest.
    """
    rows, lengths = [], {}
    for more in MORE_EPOCHS:
        epochs = config.epochs + more
        here = [trained(config, seed, epochs) for seed in range(PILOTS)]
        rows += here
        save(rows)
        for measure in MEASURES:
            if fmean(row[measure] for row in here) >= goal:
                lengths.setdefault(measure, epochs)
        if len(lengths) == len(MEASURES) or time.monotonic() > end:
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


def airbench_rows(
    script: Path,
    data: Path,
    runs: int,
    seconds: float = AIRBENCH_SECONDS,
    save: Callable[[dict], None] = lambda rows: None,
) -> dict:
    """Run a script of airbench as it is, on the same images, and read the table that it prints.

    Its first run warms up and does not count. `train_seconds` is its clock before its test with augmentation.

    Args:
        runs: that count; it is stopped behind them.
        seconds: after which it is stopped too; the runs until then count.
        save: is given the result after each run.

    Raises:
        ValueError: it ends or is stopped before a run that counts; what it said last is in the sentence.
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
            late = threading.Timer(max(seconds, 0), process.kill)
            late.start()
            try:
                for row in printed_runs(iter(process.stdout.readline, ""), said):
                    found.append(row)
                    save({"script": script.name, **summary(found[1:])} if len(found) > 1 else {"script": script.name})
                    if len(found) > runs:
                        break
            finally:
                late.cancel()
                process.kill()
    if len(found) > 1:
        return {"script": script.name, **summary(found[1:])}
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
