"""`python -m training.compare`: runs a study, says how far it is, evaluates it."""

from __future__ import annotations

from rich.console import Console

from training.compare.answer.claims import judge
from training.compare.answer.facts import StudyFacts
from training.compare.controls import add_controls
from training.compare.forecast import forecast
from training.compare.launch import default_workers, run_workers, stop_with_parent
from training.compare.options import Options, parse_options
from training.compare.progress import progress_line, progress_tables, running_lines
from training.compare.ray_workers import run_ray_workers
from training.compare.report.write import require_libraries, write_report
from training.compare.store import DONE, STUDY, Store
from training.compare.study import make_study
from training.compare.worker import work
from training.machine.commands import command
from training.machine.exit_status import exit_status
from training.machine.signals import StopRequest, stop_requests


def main(argv: list[str] | None = None) -> int:
    """Run from a command line.

    Returns:
        exit status: 0 done; 2 a mistake in the input; 130 stopped by Ctrl-C, 143 by SIGTERM, with all saved.
    """

    def work() -> int:
        with stop_requests() as stop:
            return compare(parse_options(argv), stop, Console(highlight=False, soft_wrap=True))

    return exit_status(work)


def compare(options: Options, stop: StopRequest, console: Console) -> int:
    """Carry out one action on a study; returns the exit status.

    Raises:
        ValueError, OSError: one sentence on what study file, data or disk lack.
        ImportError: a library of the report is missing.
        Stopped: a signal came; everything is saved.
    """
    if options.action in ("run", "report"):
        require_libraries()
    values, study = options.values, make_study(options.values, options.own)
    if options.controls:  # of a study that is known to be right, since their data are made at once
        values = add_controls(values, options.folder)
        study = make_study(values, options.own)
    store = Store(options.folder, study)
    num_workers = options.num_workers or default_workers()
    if options.action == "dry_run":
        waiting = [cell for cell in study.cells if store.state(cell) != DONE]
        forecast(waiting, num_workers, stop, console)
        return 0
    if options.action in ("status", "report"):
        store.check(values)
    else:
        store.begin(values, options.update)
    if options.action == "worker":
        if options.parent is not None:
            stop_with_parent(options.parent)
        work(store, stop, console.print)
        return 0
    if options.action == "run":
        status = _run(options, store, num_workers, stop, console)
        if status:
            return status
    for table in progress_tables(store, store.outcomes()):
        console.print(table)
    console.print(progress_line(store))
    for line in running_lines(store):
        console.print(line)
    if options.action in ("run", "report"):
        _report(options, store, console)
    return 0


def _run(options: Options, store: Store, num_workers: int, stop: StopRequest, console: Console) -> int:
    """Run what is left; returns the exit status."""
    store.recover()
    counts = store.counts()
    total, left = sum(counts.values()), sum(counts.values()) - counts[DONE]
    if not left:
        console.print(f"{options.folder}: all {total:,} runs are done")
        return 0
    num_workers = min(num_workers, left)
    console.print(f"{options.folder}: {left:,} of {total:,} runs are left, {num_workers} at a time")
    if options.launcher == "ray":
        status = run_ray_workers(options.folder, num_workers, stop, options.gpus, options.own)
    else:
        status = run_workers(options.folder, num_workers, stop, options.own)
    if status:
        own = [f"--own={name}" for name in options.own]
        again = command("compare", str(options.folder), *own)
        console.print(f"{store.counts()[DONE]:,} of {total:,} runs are done; continue with: {again}")
        return status
    for cell in store.recover():
        console.print(f"{cell.text} is being run by another worker: look again with --status")
    return 0


def _report(options: Options, store: Store, console: Console) -> None:
    """Write the report of what is done, and print the answer."""
    study, outcomes = store.study, store.outcomes()
    facts = StudyFacts(
        name=study.name,
        planned=len(study.cells),
        baselines=study.baselines,
        methods=study.methods,
        augmentations=study.augmentations,
        variants=study.variants,
        standard=study.augmentations[0],
        description=study.description,
        settings=(options.folder / STUDY).read_text(encoding="utf-8"),
        command=command("compare", str(options.folder / STUDY)),
        margin=study.margin,
    )
    page, *_ = write_report(options.folder, facts, outcomes)
    answer = judge(facts, outcomes)
    for line in (*answer.sentences, *answer.notes):
        console.print(line)
    console.print(f"report: {page}, with results.csv, results.parquet and figures/")
