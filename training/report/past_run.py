"""Reads a run from its folder: settings, data, network, scores and their history."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from loaders.formats.manifest import Manifest
from loaders.formats.sentence import one_line
from loaders.importance import ImportanceTable
from loaders.types import Snapshot
from training import checkpoint
from training.config import FIELDS, Config
from training.data.manifest import data_digest, open_manifest
from training.models.build import build_model
from training.own_code import is_own
from training.report import folder as files
from training.report.history import read_history


@dataclass(frozen=True, eq=False)
class PastRun:
    """A run as read from its folder.

    Attributes:
        folder: of the run.
        config: its settings, without the options of its method.
        manifest: of its data.
        model: its evaluated network, on the CPU.
        scores: the table of scores at its last checkpoint.
        history: codes of the errors, uint8 [E, N] (`training.report.history`), or None where the run left none.
        num_epochs: epochs that are done.
        summary: of a finished run, or None.
    """

    folder: Path
    config: Config
    manifest: Manifest
    model: nn.Module
    scores: Snapshot
    history: np.ndarray | None
    num_epochs: int
    summary: dict[str, Any] | None

    @property
    def num_samples(self) -> int:
        """N, of the training set."""
        return self.manifest.splits["train"].num_samples


def read_run(folder: Path, data: str | None = None, model: str | None = None, backend: str | None = None) -> PastRun:
    """Read the folder of a run, finished or not. Of its method only the name is read, and no code of it is called.

    Args:
        data: where the data lies now; None is where the run found it.
        model: the run's network of one's own, FILE.py:FUNCTION, which the folder alone may not name.
        backend: what loads the images; None is the run's own.

    Raises:
        ValueError: a file is missing or damaged, or the data is not that of the run; says what to do.
    """
    path = folder / checkpoint.FILE
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no {checkpoint.FILE}, from which the network and the scores of a run are read: name the "
            "folder of a run, such as runs/cifar10-scan-b0.3-s0"
        )
    content = checkpoint.load(path)
    try:
        config = _settings(content["config"], data, backend)
        made_on, num_epochs = content["data"].partition("/")[0], int(content["epoch"])
        _require_named(config.model, model)
        manifest = open_manifest(config.data)
        if made_on != data_digest(manifest):
            raise ValueError(f"the run was made on other data than {config.data} holds: give --data the folder of that")
        table = ImportanceTable(manifest.splits["train"].num_samples)
        table.load_state_dict(content["table"])
        network = _network(config, manifest, content)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not fit this program ({one_line(error, 300)}): use the Rebar that made it"
        ) from None
    history = read_history(folder, num_epochs, table.num_samples)
    summary = files.read_summary(folder) if (folder / files.SUMMARY).exists() else None
    return PastRun(folder, config, manifest, network, table.snapshot(), history, num_epochs, summary)


def _require_named(model: str, given: str | None) -> None:
    if is_own(model) and given != model:
        raise ValueError(
            f"the network of the run is of a Python file, {model!r:.200}, which the command line does not name: read "
            f"that file, then add --model {shlex.quote(model):.200}"
        )
    if not is_own(model) and given not in (None, model):
        raise ValueError(f"the network of the run is {model}, not {given}: leave --model out")


def _settings(values: dict[str, Any], data: str | None, backend: str | None) -> Config:
    known: dict[str, Any] = {}
    for name in FIELDS:
        if name in values:
            known[name] = tuple(values[name]) if isinstance(values[name], list) else values[name]
    config = Config(**known)
    return dataclasses.replace(config, data=data or config.data, backend=backend or config.backend)


def _network(config: Config, manifest: Manifest, content: dict[str, Any]) -> nn.Module:
    """The averaged weights where there are any, else the trained ones."""
    model = build_model(
        config.model,
        len(manifest.classes),
        generator=torch.Generator().manual_seed(0),
        width=config.width,
        channels=manifest.image_shape[2],
    )
    weights = content["model"]
    if content["average"] is not None:
        prefix = "module."
        weights = {
            name.removeprefix(prefix): value for name, value in content["average"].items() if name.startswith(prefix)
        }
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
