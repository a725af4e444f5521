"""`python -m training.inspect runs/NAME`: the data of a run by its scores, as a page and as a table."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from loaders.backends.reference import decode
from loaders.formats.open import open_dataset
from training.arguments import parse_run_options
from training.data.manifest import split_files
from training.inspect.answers import ask
from training.inspect.duplicates import directions, groups, near_duplicates, num_blocks
from training.inspect.lists import all_lists
from training.inspect.page import FILE, write_page
from training.inspect.table import Columns, columns, write_columns
from training.machine.exit_status import exit_status
from training.machine.memory import keep_freed_memory
from training.machine.precision import choose_device
from training.report.past_run import read_run


@dataclass(frozen=True)
class Options:
    """What to look at.

    Args:
        run: folder of a run, finished or not
        data: folder of the run's data, where it lies elsewhere than the run found it
        model: the run's network of your own, FILE.py:FUNCTION, named again since no file may name what runs
        out: folder for samples.html and scores.parquet; the run's own when not given
        images: how many images each list shows, at most
        backend: how images are loaded (auto, fused, native, ffcv, dali, nvimgcodec, reference)
        device: auto takes a GPU where there is one
    """

    run: str
    data: str | None = None
    model: str | None = None
    out: str | None = None
    images: int = 48
    backend: str = "auto"
    device: str = "auto"

    def __post_init__(self):
        if self.images < 1:
            raise ValueError(f"images must be at least 1, got {self.images}")


def main(argv: list[str] | None = None) -> int:
    """Run from a command line; returns the exit status: 0 done, 2 a mistake in the input, 130 stopped by Ctrl-C."""
    keep_freed_memory()
    return exit_status(lambda: _run(argv))


def _run(argv: list[str] | None) -> None:
    inspect(parse_options(argv), Console(highlight=False, soft_wrap=True))


def parse_options(argv: list[str] | None = None) -> Options:
    """Read a command line.

    Raises:
        ValueError: one sentence for an unknown option, or for a value that is not allowed.
    """
    return parse_run_options(Options, "inspect", "Show what the scores of a run say about its data.", argv)


def inspect(options: Options, console: Console) -> Columns:
    """Read the run, ask its network, and write both files.

    Returns:
        the table: what is known of each sample.

    Raises:
        ValueError, OSError, ImportError: one sentence on what the run, the data or the machine lacks.
    """
    run = read_run(Path(options.run), options.data, options.model, options.backend)
    device = choose_device(options.device)
    out = Path(options.out or options.run)
    image = partial(decode, open_dataset(split_files(run.config.data, "train")))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("asking the network", total=run.num_samples)
        answers = ask(run, device, lambda count: progress.advance(task, count))
        task = progress.add_task("looking for near duplicates", total=num_blocks(answers.guesses))
        vectors = directions(answers.features, answers.outlines)
        pairs = near_duplicates(vectors, answers.guesses, image, lambda: progress.advance(task))
    values = columns(run, answers, groups(pairs, run.num_samples))
    lists = all_lists(values, options.images)
    table = write_columns(out, values)
    write_page(out / FILE, run, values, lists, image, table.name)
    for found in lists:
        what = "candidates" if found.key == "mislabelled" else "images"
        count = found.missing or (f"{len(found.ids)} shown" if found.total is None else f"{found.total:,} {what}")
        console.print(f"{found.title.lower():<20} {count}")
    if table.suffix == ".csv":
        console.print("pyarrow is not installed, so the table is a CSV: pip install pyarrow for Parquet")
    console.print(f"{out / FILE} and {table} are written")
    return values
