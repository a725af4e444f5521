"""Images per second of the default training: `python -m benchmarks.training_speed --json PATH`.

Short runs of `python -m training.run` on CIFAR-10, which pass through the image sizes of a whole run in the same
proportion. Precisions take turns. What a machine changes is the speed; the accuracy is that of `benchmarks.training`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.measure import environment, summarise, write

BUDGET = 0.02


def seconds_per_image(data: str, precision: str) -> float:
    """Training seconds by images of one short run: loading and stepping, without set-up and evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = {"data": data, "budget": BUDGET, "precision": precision, "eval_every": 0, "out": out}
        command = [sys.executable, "-m", "training.run", *(f"--{name}={value}" for name, value in options.items())]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return 1 / json.loads((out / "summary.json").read_text())["images_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result")
    parser.add_argument("--data", default="data/cifar10", help="folder of convert/cifar.py")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"], help="bf16 is slow without bf16 units")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    where, times = environment(), {precision: [] for precision in args.precisions}
    for _ in range(args.repeats):
        for precision, values in times.items():
            values.append(seconds_per_image(args.data, precision))
    rows = {}
    for precision, values in times.items():
        row = summarise(values)
        rows[precision] = {
            "images_per_s": 1 / row["median_s"],
            "q1": 1 / row["q3_s"],
            "q3": 1 / row["q1_s"],
            "fastest": 1 / row["min_s"],
            "n": row["n"],
        }
        print(
            f"{precision}: {rows[precision]['images_per_s']:,.0f} images/s, fastest {rows[precision]['fastest']:,.0f}"
        )
    if args.json:
        write(args.json, {"environment": where, "threads": torch.get_num_threads(), "images_per_s": rows})


if __name__ == "__main__":
    main()
