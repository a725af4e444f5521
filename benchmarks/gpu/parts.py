"""One part of `benchmarks.gpu` in a process of its own: `python -m benchmarks.gpu.parts NAME OUT ...`.

It writes to OUT whatever it knows, as soon as it knows it, so that a part which is stopped has not worked for nothing.
"""

import argparse
import functools
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import write

Save = Callable[[dict], None]
PAPER_SECONDS = 15  # of training, once alone and once beside others
IN_TIME = 0.9  # of a part's limit, behind which it begins nothing that it can leave out


def tests(arguments: argparse.Namespace, save: Save) -> None:
    """How many of the tests marked `gpu` passed, and the names of those that did not."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-m",
        "gpu",
        "-n",
        "4",
        "--dist",
        "loadfile",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",  # a library that is missing stops the tests of one file
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        rows: dict = {"failed tests": []}
        counts: Counter[str] = Counter()
        for line in process.stdout or ():
            print(line, end="")
            found = re.search(r"\b(PASSED|FAILED|ERROR|SKIPPED)\b", line)
            test = re.search(r"tests/\S+::\S+", line)
            if found and test and (line.startswith(("[gw", "tests/"))):
                counts[found[1].lower()] += 1
                if found[1] in ("FAILED", "ERROR"):
                    rows["failed tests"].append(test[0])
                save(rows | counts)
    save(rows | counts)
    if process.returncode not in (0, 5):
        raise SystemExit(f"pytest ended with status {process.returncode}")


def batches(arguments: argparse.Namespace, save: Save) -> None:
    """Batches made on the GPU, beside a bare gather."""
    from benchmarks.gpu.batches import batch_rows

    save(batch_rows(arguments.data, save=save, seconds=IN_TIME * arguments.seconds))


def jpeg(arguments: argparse.Namespace, save: Save) -> None:
    """JPEG decoded on the GPU, beside stock DALI and the decoder alone."""
    from benchmarks.gpu.jpeg import jpeg_rows

    small = {"num_images": 16, "batch": 8, "repeats": 1, "in_set": 8} if arguments.device == "cpu" else {}
    jpeg_rows(arguments.photos, arguments.device, save, **small)


def training(arguments: argparse.Namespace, save: Save) -> None:
    """Seconds to 94 %, many seeds, beside airbench."""
    from benchmarks.gpu.training import training_rows

    save(training_rows(arguments.data, arguments.seeds, arguments.airbench, save, IN_TIME * arguments.seconds))


def paper(arguments: argparse.Namespace, save: Save) -> None:
    """The paper's protocol: minutes for a run, alone and beside others."""
    from benchmarks.gpu.paper import paper_rows

    if arguments.device == "cpu":
        small = {"model": "resnet8", "batch_size": 50, "precision": "fp32", "device": "cpu"}
        paper_rows(arguments.data, save, 1.0, 2, **small)
    else:
        paper_rows(arguments.data, save, PAPER_SECONDS)


PARTS = {part.__name__: part for part in (tests, batches, jpeg, training, paper)}


def options(parser: argparse.ArgumentParser) -> None:
    """Add what the parts are told to a command line."""
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="folder of convert/cifar.py")
    parser.add_argument("--photos", type=Path, default=Path("data/jpeg"), help="where the JPEG set is kept, or made")
    parser.add_argument("--seeds", type=int, default=20, help="runs of the training that is timed")
    parser.add_argument("--airbench", type=Path, help="airbench94_muon.py, which is run beside ours")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the program, tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which it is stopped; none as a rule")
    options(parser)
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments, functools.partial(write, arguments.out))


if __name__ == "__main__":
    main()
