"""The loader on a GPU, and a network trained with it: `python -m benchmarks.gpu --json PATH`.

Times batches of CIFAR-10 (`benchmarks.gpu_batches`). Then finds the shortest training at the full budget, with
configs/cifar10_gpu.yaml, whose last epoch reaches 94 % on the test set; the clock is that of training, without
evaluation. Without a GPU it says so and ends with status 2.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu_batches import batch_rows
from benchmarks.loader_peers import BATCH
from benchmarks.measure import environment, write

CONFIG = Path(__file__).parents[1] / "configs/cifar10_gpu.yaml"
GOAL = 0.94
EPOCHS = (8, 10, 12, 16, 20)  # lengths of training that are tried, until one reaches the goal


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
    result["images_per_s"] = batch_rows(args.data, repeats=args.repeats)
    for name, row in result["images_per_s"].items():
        print(f"{name:60}{row['images_per_s']:14,.0f} images/s", flush=True)
    result["training"] = trainings(args.data)
    print(json.dumps(result["training"], indent=1))
    if args.json:
        write(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
