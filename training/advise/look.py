"""Properties of the data that decide whether choosing samples can pay: tau, label noise, near duplicates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from loaders.formats.json_file import entry, read_json
from loaders.order.diagnostics import describe_weights
from training import checkpoint
from training.config import Config
from training.json_file import write_json
from training.machine.distributed import Ranks
from training.machine.signals import StopRequest
from training.own_code import is_own
from training.report import folder as files
from training.run import run

FILE = "look.json"


@dataclass(frozen=True)
class Look:
    """Properties of the training set, as measured with the network of one pilot.

    Attributes:
        tau: sqrt(1 + cv^2) of the errors' lengths (EL2N) of the samples at their last visits: the largest factor by
            which importance sampling can lower the standard error of a gradient.
        label_noise: fraction of the labels that look wrong (`training.inspect.mislabelled`). Hard images are among
            them, and wrong labels that were learned by heart are not.
        duplicates: fraction of the images that could go without loss: of each group of near duplicates all but one.
        accuracy: of the network, on the images that are held out. Where it is low, `label_noise` says nothing.
    """

    tau: float
    label_noise: float
    duplicates: float
    accuracy: float


def look(folder: Path, config: Config, stop: StopRequest) -> Look:
    """Train in a folder, look at its data (samples.html there), and keep what was found; once it is kept, read it.

    Raises:
        ValueError, OSError: what the run, its data or the disk lack.
        Stopped: a signal came; the run goes on from there.
    """
    path = folder / FILE
    if path.exists():
        values = read_json(path)
        try:
            return Look(
                **{field.name: entry(values, field.name, float, str(path)) for field in dataclasses.fields(Look)}
            )
        except ValueError as damage:
            raise ValueError(f"{damage}: delete that file, and call again to make it anew") from None
    from training.inspect.command import Options, inspect  # jinja2 is of the extra `study`

    if not (folder / files.SUMMARY).exists():
        run(dataclasses.replace(config, out=str(folder)), folder / checkpoint.FILE, Console(quiet=True), stop, Ranks())
    own = config.model if is_own(config.model) else None
    options = Options(str(folder), model=own, backend=config.backend, device=config.device)
    columns = inspect(options, Console(quiet=True))
    accuracy = entry(files.read_summary(folder), "validation_accuracy", float, str(folder / files.SUMMARY))
    found = describe_look(columns["el2n"], columns["mislabelled"], columns["duplicate_of"], accuracy)
    write_json(path, dataclasses.asdict(found), indent=1)
    return found


def describe_look(el2n_N: np.ndarray, mislabelled_N: np.ndarray, duplicate_of_N: np.ndarray, accuracy: float) -> Look:
    """The numbers, from columns of `training.inspect.table`.

    Args:
        el2n_N: NaN for samples that were never visited.
        accuracy: of the network.
    """
    visited_N = ~np.isnan(el2n_N)
    copies = duplicate_of_N[duplicate_of_N >= 0]
    return Look(
        tau=describe_weights(el2n_N[visited_N])["tau"] if visited_N.any() else 1.0,
        label_noise=float((mislabelled_N > 0).mean()),
        duplicates=(len(copies) - len(np.unique(copies))) / len(duplicate_of_N),
        accuracy=accuracy,
    )
