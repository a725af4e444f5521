"""Run the parts of a benchmark one after the other, each in a process of its own within its part of the time."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.measure import write
from loaders.formats.sentence import one_line

# The relative time of each part. What one leaves over is shared by those behind it.
TIME_WEIGHTS = {"tests": 18, "batches": 16, "jpeg": 16, "training": 34, "paper": 16}
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
        commands: of each part, by name; behind it are added the path that it writes to, and `--seconds`, its limit.
        seconds: for all of them.
        result: to be filled in "parts".
        path: of the JSON.

    Returns:
        whether all went well.
    """
    end, waiting = time.monotonic() + seconds, dict(commands)
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands.items():
            out, fraction = (
                Path(folder) / f"{name}.json",
                TIME_WEIGHTS[name] / sum(TIME_WEIGHTS[each] for each in waiting),
            )
            limit = max(0.0, end - time.monotonic() - GRACE) * fraction
            print(f"{name}: at most {limit:.0f} s", flush=True)
            result["parts"][name] = measured([*command, str(out), f"--seconds={limit:.0f}"], out, limit)
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
