"""The epochs of a run: plan, train, evaluate, record, save, and so on until the end.

Knows the order of things in an epoch; each thing is done elsewhere. All ranks come through here together.
"""

import json
import math
from contextlib import closing
from pathlib import Path

from rich.console import Console

from loaders.order.diagnostics import describe_weights
from training import checkpoint
from training.budget import budget_text
from training.checkpoint import State
from training.data import data_digest, whole_split
from training.evaluate import Result, evaluate
from training.loop import train_epoch
from training.machine.signals import Stopped, StopRequest
from training.report import folder as record
from training.report.tensorboard import event_writer
from training.report.terminal import Meter, meter
from training.setup import Job

_TOTALS = ("samples", "distinct_samples", "forward_samples", "backward_samples", "flops", "images_per_second")
_TOLD = ("method", "budget", "budget_unit", "epochs", "batch_size", "mixer", "seed", "model", "width")


def train(job: Job, state: State, folder: Path, console: Console, stop: StopRequest) -> None:
    """The epochs that are left, each followed by its evaluation, its row and its checkpoint."""
    config, ranks, budget = job.config, job.ranks, job.rule.budget
    digest = data_digest(job.manifest, job.coreset)
    path = folder / record.CHECKPOINT
    events = event_writer(folder if config.tensorboard and ranks.is_writer else None, state.epoch)
    with events as write_events, meter(console, budget, state.ledger) as bar:
        while state.plan is not None or not budget.is_spent(state.ledger):
            try:
                agree(job, state, stop)
                if state.plan is None:
                    with ranks.together(), state.ledger.clock("train"), state.ledger.clock("plan"):
                        known, progress = state.table.snapshot(), budget.progress(state.ledger)
                        state.plan = job.scheduler.plan(state.epoch, known, progress)
                bar.say("training")
                agree(job, state, stop)
                steps = train_epoch(state, job.train_loader, job.rule, job.clean_loader, ranks)
                with closing(steps):
                    for _ in steps:
                        bar.advance()
                        agree(job, state, stop)
                agree(job, state, stop)
                row = finish_epoch(job, state, folder, stop, bar)
                bar.epoch(row)
                write_events(row)
            except Stopped:
                checkpoint.save(path, state, config, digest, ranks)
                raise
            checkpoint.save(path, state, config, digest, ranks)


def agree(job: Job, state: State, stop: StopRequest) -> None:
    """Stop behind the same step at all ranks when one was asked to, and let all read the slowest one's clock.

    Raises:
        Stopped: some rank was asked to stop.
    """
    number, state.ledger.train_seconds = job.ranks.all_reduce_max(stop.signal or 0, state.ledger.train_seconds)
    if number:
        raise Stopped(int(number))


def finish_epoch(job: Job, state: State, folder: Path, stop: StopRequest, bar: Meter) -> dict:
    """Evaluate where it is due, add the row, move the position to the next epoch; returns the row.

    Raises:
        ValueError: the loss is no longer finite.
    """
    loss_sum = job.ranks.all_reduce(state.loss_sum.clone()).item()
    loss = loss_sum / state.trained if state.trained else None  # no whole batch was chosen
    if state.memory is not None:
        state.memory.settle(state.ledger, job.ranks)
        state.memory.end_epoch(job.ranks)
    with job.ranks.together():
        if not math.isfinite(loss_sum):
            raise ValueError(f"training has diverged in epoch {state.epoch + 1} (loss {loss}): lower the learning rate")
        scores = state.table.snapshot()  # the next plan reads the same
    done, every, ledger = state.epoch + 1, job.config.eval_every, state.ledger
    is_last = job.rule.budget.is_spent(ledger)
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
        **{name: totals[name] for name in _TOTALS},
        **{name: value for name, value in totals.items() if name.endswith("_seconds")},
        "visits": totals["visits"],
        **({} if state.memory is None else {"choice": job.rule.choice.describe(state.memory)}),
        "weights": describe_weights(job.scheduler.weights(done, scores, job.rule.budget.progress(ledger))),
    }
    with job.ranks.together():
        if job.ranks.is_writer:
            record.append_row(folder, row)
    size = job.rule.batch_size
    ledger.covered_samples += state.batch * size / len(state.plan) * (job.scheduler.num_items // size * size)
    state.epoch, state.batch, state.trained, state.plan = done, 0, 0, None
    state.loss_sum.zero_()
    return row


def test(job: Job, state: State, stop: StopRequest, tta: bool) -> Result:
    """Accuracy of the averaged weights where there are any, else of the trained ones; each rank tests its part."""
    plan = whole_split(job.manifest.splits["test"].num_samples, job.ranks)
    model = state.model if state.average is None else state.average
    job.ranks.broadcast_buffers(model)
    batches = job.test_loader.epoch(plan)
    if job.ranks.is_alone:
        batches = stop.guard(batches)
    return evaluate(model, batches, job.precision, job.device, tta, job.ranks)


def summarise(job: Job, state: State, folder: Path, stop: StopRequest) -> dict:
    """Evaluate a run whose last epoch is done, where its row is missing, and write curve.png and summary.json."""
    config, ranks = job.config, job.ranks
    last = (record.read_rows(folder) or [None])[-1] if ranks.is_writer else None
    last = json.loads(ranks.broadcast(json.dumps(last).encode()))
    if last and last["epoch"] == state.epoch:
        accuracy, accuracy_tta, loss = (last[f"test_{name}"] for name in ("accuracy", "accuracy_tta", "loss"))
    else:
        accuracy, loss, accuracy_tta = test(job, state, stop, job.config.tta)
    summary = {
        "name": folder.name,
        "test_accuracy": accuracy,
        **({"test_accuracy_tta": accuracy_tta} if config.tta else {}),
        "test_loss": loss,
        "train_loss": last and last["train_loss"],
        **{name: getattr(config, name) for name in _TOLD},
        "design": job.scheduler.scheduler.design,
        "size_schedule": [*job.rule.size_schedule],
        "clean_fraction": job.rule.clean_fraction,
        "budget_text": budget_text(config),
        **state.ledger.summary(),
        **({"saved_fraction": state.ledger.saved_fraction} if config.method == "infobatch" else {}),
        **({"coreset": job.coreset.summary(config.coreset)} if job.coreset else {}),
        "data": job.manifest.name,
        "precision": config.precision,
        "backend": job.train_loader.backend,
        "ranks": ranks.world_size,
        **record.machine(job.device),
    }
    with ranks.together():
        if ranks.is_writer:
            record.draw_curve(folder, f"{job.manifest.name}, {config.method}, {budget_text(config)}")
            record.write_summary(folder, summary)
    return summary
