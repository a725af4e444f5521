"""All that Rebar does on a GPU, tested and measured in under eight minutes: `make bench-gpu`.

    python -m benchmarks.gpu --json benchmarks/results/gpu.json --airbench PATH/airbench94_muon.py

The parts are `tests` (those marked `gpu`), `batches`, `jpeg`, `training` and `paper`. Each runs in a process of its own
within its fraction of the time that is left, and its result is in the file as soon as it is there. A part that fails,
or is stopped, says so in the table, with what it had measured, and the next one goes on; the exit status is then 1.
`--parts` picks some; those of an earlier call on the same card stay in the file. Without a GPU this program says so and
ends with status 2; `--device cpu` tries `jpeg` and `paper` on tiny sizes, which measures nothing.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.gpu.in_turn import card, earlier, measure_all
from benchmarks.gpu.parts import PARTS, options
from benchmarks.measure import environment
from benchmarks.tables import gpu_parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu.json"), help="where the result goes")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between them")
    parser.add_argument("--minutes", type=float, default=7.7, help="for all parts together")
    options(parser)
    arguments, parts = parser.parse_args(), []
    for name in filter(None, arguments.parts.split(",")):
        if name not in PARTS:
            parser.error(f"unknown part {name!r}: choose of {', '.join(PARTS)}")
        parts.append(name)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu needs a GPU, and torch sees no CUDA device here: run it on a machine that has one")
        return 2
    if not (arguments.data / "train.beton").exists():
        print(f"{arguments.data} holds no train.beton: run `python convert/cifar.py`, or name a data set with --data")
        return 2
    where = environment() | card()
    told = [f"--{name}={getattr(arguments, name)}" for name in ("data", "photos", "seeds", "device")]
    told += [f"--airbench={arguments.airbench}"] if arguments.airbench else []
    commands = {name: [sys.executable, "-m", "benchmarks.gpu.parts", *told, name] for name in parts}
    result = {"environment": where, "parts": earlier(arguments.json, where)}
    well = measure_all(commands, 60 * arguments.minutes, result, arguments.json)
    print(gpu_parts(result))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
