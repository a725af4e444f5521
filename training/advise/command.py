"""`python -m training.advise`: pilots, curves, and an answer."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from rich.console import Console

from loaders.formats.json_file import entry, read_json
from loaders.formats.lock import lock_folder
from loaders.order.rounding import floor_fraction
from training.advise.arms import Arm, make_arms
from training.advise.figure import draw
from training.advise.look import Look, look
from training.advise.options import Options, parse_options
from training.advise.pilots import Speed, choose_design, designs, look_cell, measure, study_values
from training.advise.verdict import Question, Verdict, judge
from training.budget import with_batch_size
from training.compare.launch import default_workers, run_workers
from training.compare.store import DONE, STUDY, Store, read_values
from training.compare.study import make_study
from training.config import Config
from training.data.manifest import data_digest, open_manifest
from training.json_file import write_json
from training.machine.exit_status import exit_status
from training.machine.memory import keep_freed_memory
from training.machine.signals import StopRequest, stop_requests
from training.report.terminal import clock

ADVICE, FIGURE, PLAN, PILOTS, LOOK = "advice.json", "advice.png", "plan.json", "pilots", "look"


def main(argv: list[str] | None = None) -> int:
    """Run from a command line.

    Returns:
        exit status: 0 done, whether or not there is a recommendation; 2 a mistake in the input; 130 stopped by Ctrl-C,
        143 by SIGTERM, with all saved.
    """
    keep_freed_memory()

    def work() -> int:
        options = parse_options(argv)
        if importlib.util.find_spec("jinja2") is None:
            raise ImportError("advise needs jinja2: pip install jinja2")
        with lock_folder(options.folder), stop_requests() as stop:
            return advise(options, stop, Console(highlight=False, soft_wrap=True))

    return exit_status(work)


def advise(options: Options, stop: StopRequest, console: Console) -> int:
    """Make the pilots that are missing, and answer; returns the exit status.

    Raises:
        ValueError, OSError: one sentence on what settings, data or disk lack.
        Stopped: a signal came; everything is saved.
    """
    manifest = open_manifest(options.data)
    num_samples = manifest.splits["train"].num_samples
    num_held_out = round(num_samples * options.validation)
    num_workers = options.num_workers or default_workers()
    if not options.settings.get("batch_size"):  # left to the data: the pilots and the planned run have the same
        size = with_batch_size(Config(), num_samples, num_ranks=1).batch_size
        options = dataclasses.replace(options, settings={**options.settings, "batch_size": size})
    asked = {
        "data": data_digest(manifest),
        "budget": options.budget,
        "validation": options.validation,
        "settings": options.settings,
    }
    values = _planned(options, asked, num_samples - num_held_out, num_workers, stop, console)
    study = make_study(values, options.own)
    store = Store(options.folder / PILOTS, study)
    store.begin(values, update=True)
    status = _run_pilots(store, num_workers, stop, console, options.own)
    if status:
        return status
    with console.status("looking at the data with the network of a pilot"):
        found = look(options.folder / LOOK, look_cell(study).config, stop)
    config = study.cells[0].config
    visits = _planned_visits(config, options.budget, num_samples)
    question = Question(options.budget, visits, num_held_out, options.minutes)
    arms = make_arms(store.outcomes(), num_samples - num_held_out, visits)
    verdict = judge(question, arms, found)
    _write_advice(options.folder, asked, question, arms, found, verdict)
    draw(options.folder / FIGURE, question, arms, verdict.title)
    for line in verdict.sentences:
        console.print(line)
    console.print(f"{options.folder / FIGURE} shows the curves, {options.folder / ADVICE} has all numbers")
    return 0


def _planned(
    options: Options, asked: dict[str, Any], num_trainable: int, num_workers: int, stop: StopRequest, console: Console
) -> dict[str, Any]:
    """The study file of the pilots: that of the folder, or a new one. With other minutes, what was begun stays in it.

    Raises:
        ValueError: the folder answers another question.
    """
    path = options.folder / PLAN
    known: dict[str, Any] = {}
    if path.exists():
        known = read_json(path)
        before = entry(known, "asked", dict, str(path))
        changed = [name for name in asked if before.get(name) != asked[name]]
        if changed:
            raise ValueError(
                f"{options.folder} holds the advice for another question (differs in {', '.join(changed)}): choose "
                "another --out"
            )
        if known.get("minutes") == options.minutes and (options.folder / PILOTS / STUDY).exists():
            return read_values(options.folder / PILOTS)
    candidates = [*designs(options, num_trainable)]
    if known:
        numbers = (entry(known, name, float, str(path)) for name in ("overhead", "full_flops"))
        speed = Speed(entry(known, "flops_per_second", dict, str(path)), *numbers)
    else:
        with console.status("training for a few seconds with each augmentation, to see how fast this machine is"):
            speed = measure(options, stop, num_workers)
        known = {"asked": asked, "minutes": None, **dataclasses.asdict(speed)}
        write_json(path, known, indent=1)  # so that a call with too few minutes need not measure again
    design, seconds = choose_design(options, candidates, speed, num_workers)
    grids = design.grids(options.budget)
    if (options.folder / PILOTS / STUDY).exists():
        before = read_values(options.folder / PILOTS)["grids"]
        grids = [*before, *(grid for grid in grids if grid not in before)]
    write_json(path, {**known, "minutes": options.minutes}, indent=1)
    values = study_values(options, grids)
    console.print(
        f"pilots of up to {design.largest:g} of the planned run, {design.seeds} seeds, "
        f"{len(make_study(values, options.own).cells):,} in all: about {clock(seconds)} with {num_workers} workers here"
    )
    return values


def _run_pilots(store: Store, num_workers: int, stop: StopRequest, console: Console, own: tuple[str, ...]) -> int:
    """Run what is left of the pilots; returns the exit status."""
    store.recover()
    counts = store.counts()
    total = sum(counts.values())
    left = total - counts[DONE]
    if not left:
        return 0
    console.print(f"{left:,} of {total:,} pilots are left, {min(num_workers, left)} at a time")
    status = run_workers(store.folder, min(num_workers, left), stop, own)
    done = store.counts()[DONE]
    if status:
        console.print(f"{done:,} of {total:,} pilots are done; the same command goes on")
    elif done < total:
        raise ValueError(f"{total - done:,} pilots are being made by another process: call again when it has ended")
    return status


def _planned_visits(config: Config, budget: float, num_samples: int) -> float:
    """Visits per sample of the planned run, which trains on the held-out images too."""
    per_epoch = floor_fraction(num_samples, budget) // config.batch_size * config.batch_size
    return config.epochs * per_epoch / num_samples


def _write_advice(
    folder: Path, asked: dict[str, Any], question: Question, arms: list[Arm], found: Look, verdict: Verdict
) -> None:
    """advice.json: every number behind the sentences."""

    def values(arm: Arm) -> dict[str, Any]:
        return {
            **dataclasses.asdict(arm),
            "expected": arm.expected and arm.expected._asdict(),
        }

    advice = {
        "kind": verdict.kind,
        "best": verdict.best and str(verdict.best),
        "rivals": [str(arm) for arm in verdict.rivals],
        "sentences": verdict.sentences,
        "asked": asked,
        "question": dataclasses.asdict(question),
        "data": dataclasses.asdict(found),
        "arms": {str(arm): values(arm) for arm in arms},
    }
    write_json(folder / ADVICE, advice, indent=1)
