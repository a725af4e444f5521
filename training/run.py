"""`python -m training.run`: one training run, from settings to its folder of results.

Knows the order of things; each thing is done elsewhere.
"""

import math
import signal
import sys
from contextlib import closing
from pathlib import Path

from rich.console import Console

from training import checkpoint, record
from training.arguments import parse_args
from training.assemble import Job, assemble, data_digest, whole_split
from training.checkpoint import State
from training.config import Config
from training.evaluate import Result, evaluate
from training.loop import train_epoch
from training.stop import Stopped, StopRequest, stop_requests
from training.terminal import Meter, meter, print_summary


def main(argv: list[str] | None = None) -> int:
    """Run from a command line.

    Returns:
        exit status: 0 finished, or stopped by SIGTERM with all saved; 130 likewise by Ctrl-C; 2 a mistake in the input.
    """
    console = Console()
    try:
        config, resume = parse_args(argv)
        with stop_requests() as stop:
            run(config, resume, console, stop)
    except Stopped as stopped:
        return 130 if stopped.signal == signal.SIGINT else 0
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        is_sentence = isinstance(error, OSError) and error.strerror and not error.filename
        print(f"error: {error.strerror if is_sentence else error}", file=sys.stderr)
        return 2
    return 0


def run(config: Config, resume: Path | None, console: Console, stop: StopRequest) -> dict:
    """Train, evaluate and record.

    Args:
        resume: the checkpoint to continue from, None for a new run. Where there is none yet, the run begins.

    Returns:
        what summary.json holds.

    Errors:
        ValueError, OSError: one sentence on what the settings or files lack.
        Stopped: a signal came; the state is saved.
    """
    content = checkpoint.load(resume) if resume and resume.exists() else None
    job, state = assemble(config)
    if content:
        checkpoint.restore(content, state, job.config, data_digest(job.manifest))
    folder = resume.parent if resume else record.make_folder(config)
    if content and (folder / record.SUMMARY).exists():
        console.print(f"{folder} is finished already; its result:", highlight=False, soft_wrap=True)
        summary = record.read_summary(folder)
        print_summary(console, summary, folder)
        return summary
    checkpoint.remove_leftovers(folder)
    record.cut_rows(folder, state.epoch)
    record.write_config(folder, job.config)
    where = f"continuing {folder} behind step {state.ledger.steps:,}" if content else f"results go to {folder}"
    for line in (job.precision.reason, where):
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


def train(job: Job, state: State, folder: Path, console: Console, stop: StopRequest) -> None:
    """The epochs that are left, each followed by its evaluation, its row and its checkpoint."""
    config, digest = job.config, data_digest(job.manifest)
    with meter(console, state.ledger.steps, job.rule.total_steps, config.epochs) as bar:
        while state.epoch < config.epochs:
            try:
                stop.check()
                if state.plan is None:
                    with state.ledger.clock("train"), state.ledger.clock("plan"):
                        state.plan = job.scheduler.plan(state.epoch, state.table.snapshot())
                bar.say("training")
                steps = train_epoch(state, job.train_loader, config.batch_size, job.rule, job.precision, job.flops)
                with closing(steps):
                    for _ in steps:
                        bar.advance()
                        stop.check()
                finish_epoch(job, state, folder, bar, stop)
            except Stopped:
                checkpoint.save(folder / record.CHECKPOINT, state, config, digest)
                raise
            checkpoint.save(folder / record.CHECKPOINT, state, config, digest)


def finish_epoch(job: Job, state: State, folder: Path, bar: Meter, stop: StopRequest) -> None:
    """Evaluate where it is due, add the row, move the position to the next epoch.

    Errors:
        ValueError: the loss is no longer finite.
    """
    loss = state.loss_sum.item() / len(state.plan)
    if not math.isfinite(loss):
        raise ValueError(f"training has diverged in epoch {state.epoch + 1} (loss {loss}): lower the learning rate")
    done, every, ledger = state.epoch + 1, job.config.eval_every, state.ledger
    is_last = done == job.config.epochs
    is_due = is_last or (every and done % every == 0)
    bar.say("evaluating")
    tested = test(job, state, stop, tta=is_last and job.config.tta) if is_due else Result(None, None, None)
    totals = ledger.summary()
    row = {
        "epoch": done,
        "step": ledger.steps,
        "train_loss": loss,
        "test_accuracy": tested.accuracy,
        "test_accuracy_tta": tested.accuracy_tta,
        "test_loss": tested.loss,
        **{name: totals[name] for name in ("samples", "distinct_samples", "flops", "images_per_second")},
        **{name: value for name, value in totals.items() if name.endswith("_seconds")},
    }
    record.append_row(folder, row)
    bar.epoch(row)
    state.epoch, state.batch, state.plan = done, 0, None
    state.loss_sum.zero_()


def test(job: Job, state: State, stop: StopRequest, tta: bool) -> Result:
    """Accuracy of the averaged weights where there are any, else of the trained ones."""
    plan = whole_split(job.manifest.splits["test"].num_samples)
    model = state.model if state.average is None else state.average
    batches = stop.guard(job.test_loader.epoch(plan))
    return evaluate(model, batches, job.precision, job.device, tta)


def summarise(job: Job, state: State, folder: Path, stop: StopRequest) -> dict:
    """Write curve.png and summary.json of a run whose last epoch is done."""
    rows = record.read_rows(folder)
    if rows and rows[-1]["epoch"] == job.config.epochs:
        accuracy, accuracy_tta, loss = (rows[-1][f"test_{name}"] for name in ("accuracy", "accuracy_tta", "loss"))
    else:
        accuracy, loss, accuracy_tta = test(job, state, stop, job.config.tta)
    config = job.config
    summary = {
        "name": folder.name,
        "test_accuracy": accuracy,
        **({"test_accuracy_tta": accuracy_tta} if config.tta else {}),
        "test_loss": loss,
        "train_loss": rows[-1]["train_loss"] if rows else None,
        **{name: getattr(config, name) for name in ("method", "budget", "epochs", "batch_size", "seed", "model")},
        **state.ledger.summary(),
        "data": job.manifest.name,
        "precision": config.precision,
        "backend": config.backend,
        **record.machine(job.device),
    }
    record.draw_curve(folder, f"{job.manifest.name}, {config.method}, budget {config.budget:g}")
    record.write_summary(folder, summary)
    return summary


if __name__ == "__main__":
    sys.exit(main())
