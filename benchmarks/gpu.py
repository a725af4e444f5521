"""All that Rebar does on a GPU, tested and measured in under eight minutes: `make bench-gpu`.

    python -m benchmarks.gpu --json benchmarks/results/gpu.json --airbench PATH/airbench94_muon.py

The parts are `tests` (those marked `gpu`), `batches`, `jpeg`, `training` and `paper`. Each runs in a process of its own
within its share of the time that is left, and its result is in the file as soon as it is there. A part that fails, or
is stopped, says so in the table, with what it had measured, and the next one goes on; the exit status is then 1.
`--parts` picks some; those of an earlier call on the same card stay in the file. Without a GPU this program says so and
ends with status 2; `--device cpu` tries `jpeg` and `paper` on tiny sizes, which measures nothing.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu_parts import PARTS, options
from benchmarks.measure import environment, write
from benchmarks.tables import gpu_parts
from loaders.formats.sentence import one_line

# The relative time of each part. What one leaves over is shared by those behind it.
SHARES = {"tests": 18, "batches": 16, "jpeg": 16, "training": 34, "paper": 16}
GRACE = 5.0  # s from asking a part to end until it is made to


def card() -> dict[str, object]:
    """The GPU, its driver, and what torch was built for."""
    if not torch.cuda.is_available():
        return {"gpu": None}
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        driver = None
    return {
        "gpu": properties.name,
        "gpu_memory_gb": round(properties.total_memory / 1e9),
        "driver": driver,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def measured(command: list[str], out: Path, limit: float) -> dict:
    """Run a part for at most `limit` seconds.

    Args:
        command: which writes a JSON object to `out`, maybe several times.

    Returns:
        "rows", what it wrote last; "seconds"; and "failed", a sentence, where it did not end by itself and well.
    """
    log, start, failed = out.with_suffix(".log"), time.monotonic(), None
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit)
            if status:
                said = log.read_text(errors="replace").strip().splitlines() or [f"it ended with status {status}"]
                failed = one_line(said[-1])
        except subprocess.TimeoutExpired:
            failed = f"stopped after {limit:.0f} s"
        finally:
            _end(process)
    rows = json.loads(out.read_text()) if out.exists() else {}
    result = {"rows": rows, "seconds": round(time.monotonic() - start, 1)}
    return result if failed is None else result | {"failed": failed, "log": log.read_text(errors="replace")[-2000:]}


def _end(process: subprocess.Popen) -> None:
    """End a process and all of its group that still run."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def measure_all(commands: dict[str, list[str]], seconds: float, result: dict, path: Path) -> bool:
    """Run the parts one after the other, and write the result after each.

    Args:
        commands: of each part, by name; the path that it writes to is added behind it.
        seconds: for all of them.
        result: to be filled in "parts".
        path: of the JSON.

    Returns:
        whether all went well.
    """
    end, waiting = time.monotonic() + seconds, dict(commands)
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands.items():
            out, share = Path(folder) / f"{name}.json", SHARES[name] / sum(SHARES[each] for each in waiting)
            limit = max(0.0, end - time.monotonic() - GRACE) * share
            print(f"{name}: at most {limit:.0f} s", flush=True)
            result["parts"][name] = measured([*command, str(out)], out, limit)
            result["parts"][name]["date"] = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            write(path, result)
            del waiting[name]
    return not any("failed" in result["parts"][name] for name in commands)


def earlier(path: Path, where: dict) -> dict:
    """The parts of a result of the same card, driver and versions; none where the file is of another form."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    same = all(
        found["environment"].get(key) == where[key] for key in ("gpu", "driver", "cuda", "versions") if key in where
    )
    return found.get("parts", {}) if same else {}


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
    commands = {name: [sys.executable, "-m", "benchmarks.gpu_parts", *told, name] for name in parts}
    result = {"environment": where, "parts": earlier(arguments.json, where)}
    well = measure_all(commands, 60 * arguments.minutes, result, arguments.json)
    print(gpu_parts(result))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
