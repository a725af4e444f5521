"""`python -m training.export runs/NAME`: the network of a run as files for other programs."""

import importlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from loaders.formats.atomic import atomic_path
from training.arguments import parse_run_options
from training.data.augmentation import normalise
from training.machine.exit_status import exit_status
from training.report.past_run import PastRun, read_run

TORCH, SAFETENSORS = "model.pt", "model.safetensors"


@dataclass(frozen=True)
class Options:
    """What to export.

    Args:
        run: folder of a run, finished or not
        data: folder of the data, where it lies elsewhere than the run found it
        model: the run's network of your own, FILE.py:FUNCTION, named again since no file may name what runs
        out: folder for model.pt and model.safetensors; the run's own when not given
    """

    run: str
    data: str | None = None
    model: str | None = None
    out: str | None = None


def main(argv: list[str] | None = None) -> int:
    """Run from a command line; returns the exit status: 0 done, 2 a mistake in the input, 130 stopped by Ctrl-C."""
    return exit_status(lambda: export(parse_options(argv), Console(highlight=False, soft_wrap=True)))


def parse_options(argv: list[str] | None = None) -> Options:
    """Read a command line.

    Raises:
        ValueError: one sentence for an unknown option, or for a value that is not allowed.
    """
    return parse_run_options(Options, "export", "Write the network of a run as files for other programs.", argv)


def export(options: Options, console: Console) -> None:
    """Write the evaluated weights and what they need to be used: plain torch, and safetensors where it is installed.

    Raises:
        ValueError, OSError: one sentence on what the run or the disk lacks.
    """
    run = read_run(Path(options.run), options.data, options.model)
    out, weights, about = Path(options.out or options.run), weights_of(run), describe(run)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / TORCH) as temporary:
        torch.save({"weights": weights, **about}, temporary)
    console.print(f"{out / TORCH}: torch.load(..., weights_only=True) gives weights, {', '.join(about)}")
    if importlib.util.find_spec("safetensors") is None:
        console.print(f"{SAFETENSORS} is not written: the package safetensors is not installed")
        return
    safetensors = importlib.import_module("safetensors.torch")
    with atomic_path(out / SAFETENSORS) as temporary:
        safetensors.save_file(weights, temporary, metadata={name: json.dumps(value) for name, value in about.items()})
    console.print(f"{out / SAFETENSORS}: the weights, and the rest as JSON in its metadata")


def weights_of(run: PastRun) -> dict[str, Tensor]:
    """Its evaluated weights by name, each a tensor of its own, in torch's standard layout."""
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in
            run.model.state_dict().items()}  # fmt: skip


def describe(run: PastRun) -> dict[str, Any]:
    """What the weights need to be used: the network, its classes, and how images are to be normalised."""
    config, plain = run.config, normalise(run.config, run.manifest)
    return {
        "model": config.model,
        "width": config.width,
        "classes": [*run.manifest.classes],
        "mean": [*plain.mean],
        "std": [*plain.std],
        "image_size": config.image_size or [*run.manifest.image_shape[:2]],
    }
