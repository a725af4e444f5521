"""The loader on a GPU, and a network trained with it: `python -m benchmarks.gpu --json PATH`.

Times epochs of CIFAR-10, batch 512, crop + flip (+ normalise), in turns: batches made on the GPU, batches made on the
host and copied, and as a ceiling a bare gather on the GPU. Then finds the shortest training at the full budget, with
configs/cifar10_gpu.yaml, whose last epoch reaches 94 % on the test set; the clock is that of training, without
evaluation. Without a GPU it says so and ends with status 2.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from benchmarks.loader_peers import AUGMENT, BATCH
from benchmarks.measure import environment, interleave, write
from loaders import RICAP, EpochPlan, IndexScheduler, make_loader, open_dataset

CONFIG = Path(__file__).parents[1] / "configs/cifar10_gpu.yaml"
GOAL = 0.94
EPOCHS = (8, 10, 12, 16, 20)  # lengths of training that are tried, until one reaches the goal
DTYPES = (torch.uint8, torch.float16)

Deliver = Callable[[EpochPlan], Iterable[object]]


def epoch_of(deliver: Deliver, plan: EpochPlan) -> Callable[[], None]:
    """A call that takes all batches of the plan and waits for the GPU."""

    def epoch() -> None:
        for _ in deliver(plan):
            pass
        torch.cuda.synchronize()

    return epoch


def on_host(path: Path, **options: object) -> Deliver:
    """What delivers batches that are made on the host and copied.

    A loader does so where the images do not fit into the GPU's memory, which it finds out when it is opened: memory is
    nearly full at that time.
    """
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(free - path.stat().st_size, dtype=torch.uint8, device="cuda")
    loader = make_loader(path, BATCH, backend="fused", device="cuda", **options)
    del ballast
    torch.cuda.empty_cache()
    assert "on the host" in loader.residence, loader.residence
    return loader.epoch


def contenders(path: Path, plan: EpochPlan) -> dict[str, Callable[[], None]]:
    """The calls that are timed, by name."""
    device, dataset, calls = torch.device("cuda", torch.cuda.current_device()), open_dataset(path), {}
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        for what, augment in (("", AUGMENT), (" + RICAP", dataclasses.replace(AUGMENT, mixer=RICAP()))):
            options = {"dtype": dtype, "augment": augment}
            on_gpu = make_loader(path, BATCH, backend="fused", device=device, **options)
            calls[f"on the GPU, {name}{what}"] = epoch_of(on_gpu.epoch, plan)
            calls[f"on the host and copied, {name}{what}"] = epoch_of(on_host(path, **options), plan)
    images = torch.from_numpy(np.stack([dataset.bytes(i) for i in range(dataset.num_samples)])).to(device)
    ids = torch.from_numpy(plan.ids.copy()).to(device)

    def gather() -> None:
        for start in range(0, len(ids), BATCH):
            images[ids[start : start + BATCH]]
        torch.cuda.synchronize()

    return calls | {"ceiling: gather on the GPU, uint8": gather}


def rates(path: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Images per second of each contender: median and quartiles."""
    num_samples = open_dataset(path).num_samples
    plan = IndexScheduler(num_samples).plan(0)
    times = interleave(contenders(path, plan), repeats)
    return {
        name: {
            "images_per_s": num_samples / row["median_s"],
            "q1": num_samples / row["q3_s"],
            "q3": num_samples / row["q1_s"],
            "n": row["n"],
        }
        for name, row in times.items()
    }


def trained(data: Path, num_epochs: int) -> dict:
    """Train with the GPU preset for so many epochs; returns numbers of the run's summary."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = {"config": CONFIG, "data": data, "epochs": num_epochs, "out": out, "eval_every": 0, "tta": "true"}
        command = [sys.executable, "-m", "training.run", *(f"--{name}={value}" for name, value in options.items())]
        subprocess.run(command, check=True)
        summary = json.loads((out / "summary.json").read_text())
    names = ("test_accuracy", "test_accuracy_tta", "train_seconds", "data_seconds", "images_per_second", "precision")
    return {"epochs": num_epochs, **{name: summary[name] for name in names}}


def trainings(data: Path) -> dict:
    """Train for longer and longer until a run reaches the goal; returns all runs and that one's seconds, or None."""
    runs = []
    for num_epochs in EPOCHS:
        runs.append(trained(data, num_epochs))
        if runs[-1]["test_accuracy"] >= GOAL:
            return {"goal": GOAL, "time_to_goal_s": runs[-1]["train_seconds"], "runs": runs}
    return {"goal": GOAL, "time_to_goal_s": None, "runs": runs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="folder of convert/cifar.py")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu needs a GPU, and torch sees no CUDA device here: run it on a machine that has one")
        return 2
    if not (args.data / "train.beton").exists():
        print(f"{args.data} holds no train.beton: run `python convert/cifar.py`, or name a data set with --data")
        return 2
    result = {"environment": environment() | {"gpu": torch.cuda.get_device_name()}, "batch": BATCH}
    result["images_per_s"] = rates(args.data / "train.beton", args.repeats)
    for name, row in result["images_per_s"].items():
        print(f"{name:50}{row['images_per_s']:14,.0f} images/s", flush=True)
    result["training"] = trainings(args.data)
    print(json.dumps(result["training"], indent=1))
    if args.json:
        write(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
