"""`python -m training.evaluate runs/NAME`: tests the network of a run once more, on any split of its data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from loaders.types import EpochPlan
from training.arguments import parse_run_options
from training.data.augmentation import normalise
from training.data.loading import open_loader, whole_split
from training.data.manifest import check_labels, open_manifest
from training.data.validation import held_out
from training.evaluate.accuracy import evaluate
from training.machine.exit_status import exit_status
from training.machine.memory import keep_freed_memory
from training.machine.precision import choose_device, choose_precision
from training.report.past_run import read_run

_MOST_AT_ONCE = 500


@dataclass(frozen=True)
class Options:
    """What to test.

    Args:
        run: folder of a run, finished or not
        data: folder of the data, where it lies elsewhere than the run found it
        model: the run's network of your own, FILE.py:FUNCTION, named again since no file may name what runs
        eval_split: test, val or train; what the run is tested on when not given, which is the part of the training set
            that --validation holds out, where it does
        tta: report the accuracy under test-time augmentation (flip and one-pixel shifts) too
        backend: how images are loaded (auto, fused, native, ffcv, dali, nvimgcodec, reference)
        device: auto takes a GPU where there is one
        precision: auto takes bf16 where the device computes it natively, else fp32; fp16 needs a GPU
    """

    run: str
    data: str | None = None
    model: str | None = None
    eval_split: Literal["test", "val", "train"] | None = None
    tta: bool = False
    backend: str = "auto"
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"


def main(argv: list[str] | None = None) -> int:
    """Run from a command line; returns the exit status: 0 done, 2 a mistake in the input, 130 stopped by Ctrl-C."""
    keep_freed_memory()
    return exit_status(lambda: test_again(parse_options(argv), Console(highlight=False, soft_wrap=True)))


def parse_options(argv: list[str] | None = None) -> Options:
    """Read a command line.

    Raises:
        ValueError: one sentence for an unknown option, or for a value that is not allowed.
    """
    return parse_run_options(Options, "evaluate", "Test the network of a run.", argv)


def test_again(options: Options, console: Console) -> None:
    """Test the run's evaluated weights, and print the result.

    Raises:
        ValueError, OSError, ImportError: one sentence on what the run, the data or the machine lacks.
    """
    run = read_run(Path(options.run), options.data, options.model, options.backend)
    holds_out = options.eval_split is None and run.config.validation > 0
    split = "train" if holds_out else options.eval_split or run.config.eval_split
    if split not in run.manifest.splits:
        raise ValueError(
            f"{run.config.data} has no {split} split: choose one with --eval_split {' or '.join(run.manifest.splits)}"
        )
    open_manifest(run.config.data, split)  # which says so where training cannot read it
    device = choose_device(options.device)
    precision, plain = choose_precision(options.precision, device), normalise(run.config, run.manifest)
    loader = open_loader(run.config, device, split, plain, _MOST_AT_ONCE)
    check_labels(loader, run.manifest, split)
    plan = whole_split(run.manifest.splits[split].num_samples)
    if holds_out:
        plan = EpochPlan(held_out(loader.dataset.labels, run.config.validation))
    with console.status(f"testing on {len(plan):,} images"):
        result = evaluate(run.model.to(device), loader.epoch(plan), precision, device, options.tta)
    tta = "" if result.accuracy_tta is None else f", {100 * result.accuracy_tta:.2f} % with test-time augmentation"
    name = "validation" if holds_out else split
    console.print(
        f"{name}: {100 * result.accuracy:.2f} %{tta} of {len(plan):,} images, loss {result.loss:.4f}, after "
        f"{run.num_epochs} epochs, in {precision.name}"
    )
