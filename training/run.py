"""`python -m training.run`: one training run, from settings to its folder of results.

Under `torchrun -m training.run` the run is that of all ranks: rank 0 reads the settings and the checkpoint, and writes.
Knows the order of things; each thing is done elsewhere.
"""

import json
import signal
import sys
from pathlib import Path

import torch
from rich.console import Console

from training import checkpoint
from training.arguments import parse_args, sentence
from training.budget import payer
from training.checkpoint import State
from training.config import Config
from training.coreset.file import broadcast_files
from training.data import data_digest
from training.fit import summarise, train
from training.machine.distributed import OtherRankFailed, RankLost, Ranks, join
from training.machine.memory import keep_freed_memory
from training.machine.signals import Stopped, StopRequest, stop_requests
from training.report import folder as record
from training.report.terminal import coreset_text, print_summary
from training.setup import Job, assemble


def main(argv: list[str] | None = None) -> int:
    """Run from a command line.

    Returns:
        exit status: 0 finished, or stopped by SIGTERM with all saved; 130 likewise by Ctrl-C; 2 a mistake in the input;
        1 another rank failed.
    """
    keep_freed_memory()
    try:
        with join() as ranks, stop_requests() as stop:
            config, resume = read_settings(argv, ranks)
            run(config, resume, Console(quiet=not ranks.is_writer), stop, ranks)
    except Stopped as stopped:
        return 130 if stopped.signal == signal.SIGINT else 0
    except KeyboardInterrupt:
        return 130
    except OtherRankFailed:
        return 1
    except RankLost as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    return 0


def read_settings(argv: list[str] | None, ranks: Ranks) -> tuple[Config, Path | None]:
    """Rank 0's reading of the command line, at all ranks: only its machine needs the files that are named there."""
    values = b""
    with ranks.together():
        if ranks.is_writer:
            config, resume = parse_args(argv)
            values = json.dumps([config.as_dict(), resume and str(resume)]).encode()
    settings, resume = json.loads(ranks.broadcast(values))
    return Config.from_dict(settings), resume and Path(resume)


def run(config: Config, resume: Path | None, console: Console, stop: StopRequest, ranks: Ranks) -> dict:
    """Train, evaluate and record.

    Args:
        resume: the checkpoint to continue from, None for a new run. Where there is none yet, the run begins.

    Returns:
        what summary.json holds.

    Raises:
        ValueError, OSError: one sentence on what the settings or files lack.
        Stopped: a signal came; the state is saved.
    """
    saved = ranks.broadcast(resume.read_bytes() if ranks.is_writer and resume and resume.exists() else b"none")
    coreset_files, content = broadcast_files(config.coreset, ranks), None
    with ranks.together():
        if saved != b"none":
            content = checkpoint.load(resume, saved)
        with console.status("getting ready; a machine's first run compiles for some 20 seconds"):
            job, state = assemble(config, ranks, coreset_files)
        if content:
            checkpoint.restore(content, state, job.config, data_digest(job.manifest, job.coreset), ranks.is_writer)
    state.network = ranks.distribute(state.model, job.device)
    if config.compile:
        state.network = torch.compile(state.network)
    folder, summary = _open_folder(job, state, resume, is_resumed=content is not None)
    if summary:
        console.print(f"{folder} is finished already; its result:", highlight=False, soft_wrap=True)
        print_summary(console, summary, folder)
        return summary
    where = f"continuing {folder} behind step {state.ledger.steps:,}" if content else f"results go to {folder}"
    feed = [job.train_loader.residence] if job.device.type == "cuda" else []
    chosen = [f"core-set: {coreset_text(job.coreset.summary(config.coreset))}, {payer(config)}"] if job.coreset else []
    length = "" if config.budget_unit == "seconds" else f", {job.config.epochs} epochs at the full budget"
    size = f"{job.config.model} at width {job.config.width:g}{length}"
    changed = checkpoint.other_processes(content, ranks) if content else []
    for line in (job.precision.reason, size, *feed, *chosen, where, *changed):
        console.print(line, highlight=False, soft_wrap=True)
    try:
        train(job, state, folder, console, stop)
        summary = summarise(job, state, folder, stop)
    except Stopped as stopped:
        console.print(
            f"stopped by {stopped} in epoch {state.epoch + 1} after step {state.ledger.steps:,}, all saved; "
            f"continue with: python -m training.run --resume {folder}",
            highlight=False,
            soft_wrap=True,
        )
        raise
    print_summary(console, summary, folder)
    return summary


def _open_folder(job: Job, state: State, resume: Path | None, is_resumed: bool) -> tuple[Path, dict | None]:
    """The run's folder, made ready by rank 0, and its summary where the run is finished already."""
    opened = b""
    with job.ranks.together():
        if job.ranks.is_writer:
            folder, summary = resume.parent if resume else record.make_folder(job.config), None
            if (folder / record.SUMMARY).exists():
                summary = record.read_summary(folder)
                if not is_resumed:
                    raise ValueError(
                        f"{folder} holds a finished run, and no {record.CHECKPOINT} to continue: choose another --out, "
                        f"or delete its {record.SUMMARY} to train anew"
                    )
            else:
                checkpoint.remove_leftovers(folder)
                record.cut_rows(folder, state.epoch)
                record.write_config(folder, job.config)
            opened = json.dumps([str(folder), summary]).encode()
    folder, summary = json.loads(job.ranks.broadcast(opened))
    return Path(folder), summary


if __name__ == "__main__":
    sys.exit(main())
