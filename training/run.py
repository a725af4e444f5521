"""`python -m training.run`: one training run, from settings to its folder of results.

Under `torchrun -m training.run` the run is that of all ranks: rank 0 reads the settings and the checkpoint, and writes.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from torch.distributed.elastic.multiprocessing.errors import record

from loaders.formats.lock import lock_folder
from loaders.formats.sentence import one_line
from training import checkpoint
from training.arguments import continue_command, make_config, parse_args
from training.budget import who_pays
from training.config import Config
from training.coreset.file import broadcast_files
from training.loop import fit
from training.machine.distributed import Ranks, join
from training.machine.exit_status import exit_status
from training.machine.memory import keep_freed_memory
from training.machine.signals import Stopped, StopRequest, stop_requests
from training.report import folder as files
from training.report.choice import cannot_choose
from training.report.report import finish, reporting
from training.report.terminal import coreset_text, print_summary
from training.setup import make_ready, set_up
from training.state import Run
from training.step.graph import obstacle


def main(argv: list[str] | None = None) -> int:
    """Run from a command line.

    Returns:
        exit status: 0 finished; 130 stopped by Ctrl-C, 143 by SIGTERM, with all saved; 2 a mistake in the input; 1
        another rank failed.
    """
    keep_freed_memory()

    def work() -> None:
        with join() as ranks, stop_requests() as stop:
            config, resume = read_settings(argv, ranks)
            run(config, resume, Console(quiet=not ranks.is_writer), stop, ranks)

    return exit_status(work)


def read_settings(argv: list[str] | None, ranks: Ranks) -> tuple[Config, Path | None]:
    """Rank 0's reading of the command line, on all ranks: only its machine needs the files that are named there."""
    values = b""
    with ranks.together():
        if ranks.is_writer:
            config, resume = parse_args(argv)
            values = json.dumps([config.as_dict(), resume and str(resume)]).encode()
    settings, resume = json.loads(ranks.broadcast(values))
    return make_config(settings), resume and Path(resume)


def run(config: Config, resume: Path | None, console: Console, stop: StopRequest, ranks: Ranks) -> dict[str, Any]:
    """Train, evaluate and record.

    Args:
        resume: the checkpoint to continue from, None for a new run. Where there is none yet, the run begins.

    Returns:
        what summary.json holds.

    Raises:
        ValueError, OSError: one sentence on what the settings or files lack, or on who works in the folder already.
        Stopped: a signal came; the state is saved.
    """
    with ExitStack() as held:  # by rank 0: the lock of the run's folder
        known = resume.parent if resume else Path(config.out) if config.out else None
        with ranks.together():
            if ranks.is_writer and known:
                held.enter_context(lock_folder(known))
                if not resume:
                    files.check_unused(known)
                elif not resume.exists() and (known / files.SUMMARY).exists():
                    raise ValueError(
                        f"{known} holds a finished run, and no {checkpoint.FILE} to continue: choose another --out, or "
                        f"delete its {files.SUMMARY} to train anew"
                    )
        return _run(config, resume, console, stop, ranks, held)


def _run(
    config: Config, resume: Path | None, console: Console, stop: StopRequest, ranks: Ranks, held: ExitStack
) -> dict[str, Any]:
    saved, content = b"none", None
    with ranks.together():
        if ranks.is_writer and resume and resume.exists():
            saved = resume.read_bytes() or b"\0"  # an empty file is refused like any other that is cut short
    saved = ranks.broadcast(saved)
    coreset_files = broadcast_files(config.coreset, ranks)
    with ranks.together():
        if resume and saved != b"none":
            content = checkpoint.load(resume, saved)
        with console.status("getting ready; the first run on a machine compiles for some 20 seconds"):
            run = set_up(config, ranks, stop, coreset_files, content)
        if content:
            checkpoint.restore(content, run)
    with console.status("getting ready to step"), ranks.together():
        make_ready(run)
    folder, summary = _open_folder(run, resume, held)
    if summary is not None:
        print_finished(console, summary, folder)
        return summary
    changed = checkpoint.other_processes(content, ranks) if content else []
    where = f"continuing {folder} after step {run.ledger.steps:,}" if content else f"results go to {folder}"
    if resume and not content:
        where = f"{resume.parent} holds no checkpoint yet, so the run begins anew; {where}"
    for line in (*_about(run), where, *changed):
        console.print(line, highlight=False, soft_wrap=True)
    try:
        with reporting(run, folder, console) as report:
            fit(run, report)
        summary = finish(run, folder)
    except Stopped as stopped:
        console.print(
            f"stopped by {stopped} in epoch {run.epoch + 1} after step {run.ledger.steps:,}, all saved; "
            f"continue with: {continue_command(folder, config)}",
            highlight=False,
            soft_wrap=True,
        )
        raise
    print_summary(console, summary, folder)
    return summary


def print_finished(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """The result of a run that is finished already, as its folder has it.

    Raises:
        ValueError: summary.json is not whole.
    """
    console.print(f"{folder} is finished already; its result:", highlight=False, soft_wrap=True)
    try:
        print_summary(console, summary, folder)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{folder / files.SUMMARY} is not whole ({type(error).__name__}: {one_line(error)}): delete it, and "
            "--resume makes it again"
        ) from None


def _about(run: Run) -> list[str]:
    """What a person should know of a run before it begins, a line each."""
    config, coreset = run.config, run.data.coreset
    length = "" if config.budget_unit == "seconds" else f", {config.epochs} epochs at the full budget"
    batches = f", batches of {config.batch_size:,}"
    lines = [run.precision.reason, f"{config.model} at width {config.width:g}{length}{batches}"]
    if run.device.type == "cuda":
        lines.append(run.data.train_loader.residence)
    if run.graphs is not None:
        lines.append(f"graph: a step is one launch ({len(run.graphs)} recorded), but for batches of another size")
    elif config.graph:
        lines.append(f"graph: none, each step is launched kernel by kernel, since {obstacle(run)}")
    reason = cannot_choose(run)
    if reason:
        lines.append(f"warning: {reason}")
    if coreset:
        lines.append(f"core-set: {coreset_text(coreset.summary(str(config.coreset)))}, {who_pays(config)}")
    return lines


def _open_folder(run: Run, resume: Path | None, held: ExitStack) -> tuple[Path, dict[str, Any] | None]:
    """The run's folder, locked and made ready by rank 0, and its summary where the run is finished already."""
    opened = b""
    with run.ranks.together():
        if run.ranks.is_writer:
            folder, summary = resume.parent if resume else files.make_folder(run.config), None
            if not resume and not run.config.out:
                held.enter_context(lock_folder(folder))
            if (folder / files.SUMMARY).exists():
                summary = files.read_summary(folder)
            else:
                files.begin(folder, run.config, run.epoch)
            opened = json.dumps([str(folder), summary]).encode()
    folder, summary = json.loads(run.ranks.broadcast(opened))
    return Path(folder), summary


if __name__ == "__main__":
    sys.exit(record(main)())
