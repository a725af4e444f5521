"""The paper's protocol on a GPU: how fast it trains alone, and several cells at once: a part of `benchmarks.gpu`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from loaders import open_dataset

CONFIG = Path(__file__).parents[2] / "configs/arazo_cifar10.yaml"
BUDGET = 0.3
METHODS = ("scan", "uniform", "p-sgd", "fixed")
SETTINGS = {"budget_unit": "seconds", "eval_every": 0}


def paper_rows(data: Path, save: Callable[[dict], None], seconds: float, workers: int = 4, **settings: object) -> None:
    """Train with the paper's settings for some seconds: one run alone, then as many cells of a study as workers.

    Args:
        data: folder of a data set.
        save: is given the rows: `images_per_s`, of all cells together, and `minutes_per_run`, what a whole run at
            budget 0.3 takes at that speed, or each of many, on average, so many at once.
        seconds: of training, each time.
        workers: cells at once, on one GPU; each its own process.
        settings: of the runs, in place of the paper's; for a trial.
    """
    paper = yaml.safe_load(CONFIG.read_text()) | SETTINGS | {"data": str(data.resolve())} | settings
    images = BUDGET * paper["epochs"] * open_dataset(data / "train.beton").num_samples
    rows = {"one run": _row([_alone(paper, seconds)], images)}
    save(rows)
    rows[f"{workers} cells of a study at once"] = _row(_study(paper, seconds, workers), images)
    save(rows)


def _row(rates: list[float], images: float) -> dict[str, float]:
    return {"images_per_s": sum(rates), "minutes_per_run": images / sum(rates) / 60, "n": len(rates)}


def _alone(paper: dict, seconds: float) -> float:
    """Images per second of one run of `training.run`."""
    with tempfile.TemporaryDirectory() as folder:
        settings, out = Path(folder) / "settings.yaml", Path(folder) / "run"
        settings.write_text(yaml.safe_dump(paper | {"budget": seconds}))
        command = [sys.executable, "-m", "training.run", f"--config={settings}", f"--out={out}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads((out / "summary.json").read_text())["images_per_second"]


def _study(paper: dict, seconds: float, workers: int) -> list[float]:
    """Images per second of each cell of a study of `training.compare`, all of them at once."""
    with tempfile.TemporaryDirectory() as folder:
        study, out = Path(folder) / "cells.yaml", Path(folder) / "study"
        values = {
            "name": "bench_gpu",
            "settings": {name: value for name, value in paper.items() if name not in ("method", "compat")},
            "methods": {method: {} for method in METHODS[:workers]},
            "budgets": [seconds],
            "seeds": -(-workers // len(METHODS)),
        }
        study.write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "training.compare", str(study), f"--out={out}", f"--workers={workers}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return [json.loads(path.read_text())["images_per_second"] for path in sorted(out.rglob("summary.json"))]
