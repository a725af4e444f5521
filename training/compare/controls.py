"""Two arms that show whether a study could have seen an effect, made from the study's own data.

In the first, nine tenths of the training set are copies of a few images: choosing samples must win there. In the
second, a fifth of the labels is wrong: preferring samples with a large error must lose there.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from loaders.formats.manifest import read_manifest
from training.compare.store import DATA
from training.config import Config

REPEATS, WRONG_LABELS = 0.9, 0.2
VISITS = 5  # of a distinct image by uniform draws, in the arm with copies: so few that more of them must help


def add_controls(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A study file with both arms, whose data are made under `folder` where they are not there yet.

    Each arm has the first augmentation, the middle one of the budgets that leave something to choose, and all methods
    of the study.

    Args:
        values: of a study file that `make_study` accepts.

    Raises:
        ValueError: the data cannot be copied (`convert/derive.py` says why), or the study is not made of one data set.
    """
    settings: dict[str, Any] = values.get("settings") or {}
    variants: dict[str, Any] = values.get("variants") or {"": {}}
    for label, changed in variants.items():
        if "data" in (changed or {}):
            raise ValueError(f"--controls needs one data set for all variants, but {label!r} has another: leave it out")
    data, epochs = settings.get("data", Config.data), settings.get("epochs", Config.epochs)
    grids = [grid or {} for grid in values.get("grids", [{}])]
    budgets = {budget for grid in [values, *grids] for budget in grid.get("budgets", [])}
    is_fraction = settings.get("budget_unit") != "seconds"
    budgets = sorted(budget for budget in budgets if budget < 1 or not is_fraction) or [0.3]
    budget = budgets[len(budgets) // 2]
    num_samples = read_manifest(data).splits["train"].num_samples
    distinct = max(1, round(num_samples * (1 - REPEATS)))
    copies = {
        "repeats": ["--samples", str(distinct), "--repeats", str(REPEATS)],
        "wrong labels": ["--wrong_labels", str(WRONG_LABELS)],
    }
    added: dict[str, Any] = {}
    for label, arguments in copies.items():
        added[label] = {"data": str(folder / DATA / label.replace(" ", "_"))}
        _derive(data, added[label]["data"], arguments)
    added["repeats"]["epochs"] = min(epochs, math.ceil(VISITS / budget))
    augmentation = next(iter(values.get("augmentations") or {"standard": {}}))
    grids = [{"variants": [*variants], **grid} for grid in grids]
    for label, role in (("repeats", "positive control"), ("wrong labels", "negative control")):
        grids.append({"role": role, "variants": [label], "augmentations": [augmentation], "budgets": [budget]})
    return {**values, "variants": {**variants, **added}, "grids": grids}


def _derive(data: str, out: str, arguments: list[str]) -> None:
    """Call the converter, which training does not import.

    Raises:
        ValueError: its sentence.
    """
    command = [sys.executable, "-m", "convert.derive", data, out, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 130:
        raise KeyboardInterrupt
    if result.returncode:
        raise ValueError(f"the controls cannot be made: {result.stderr.strip().removeprefix('error: ')}")
