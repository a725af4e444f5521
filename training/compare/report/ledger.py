"""The tables of the page: what runs cost, all runs, and what they have in common."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from training.compare.answer import wording
from training.compare.answer.arms import MAIN, Arm, Cell
from training.compare.answer.claims import Answer
from training.compare.answer.facts import StudyFacts
from training.compare.outcome import Outcome
from training.compare.report.plots import place_of
from training.report.numbers import tested_split
from training.report.terminal import clock

CONSTANTS = (
    "data",
    "num_samples",
    "model",
    "width",
    "epochs",
    "batch_size",
    "precision",
    "backend",
    "processor",
    "device",
    "threads",
    "ranks",
)
"""What all runs of a study tend to have in common, by its name in summary.json."""


def tested_accuracy(outcomes: Iterable[Outcome]) -> str:
    """What the accuracies are called: "test accuracy", or that of another split; "accuracy" where runs differ."""
    splits = {tested_split(one.summary) for one in outcomes if one.summary}
    return f"{splits.pop()} accuracy" if len(splits) == 1 else "accuracy"


def did_not_choose(outcomes: Iterable[Outcome]) -> list[str]:
    """Why runs did not choose: each reason of a method once, with the numbers of its first run."""
    said: dict[tuple[str, str], list[str]] = {}
    for one in outcomes:
        if sentence := one.summary.get("did_not_choose"):
            said.setdefault((one.method, wording.pattern(str(sentence))), []).append(str(sentence))
    return [
        f"{method}, {wording.counted(len(some), 'run')}{', the first of them' if len({*some}) > 1 else ''}: {some[0]}"
        for (method, _), some in said.items()
    ]


def costs(answer: Answer, study: StudyFacts) -> list[dict[str, str]]:
    """What a run of each method costs at each budget: means over augmentations and variants.

    Columns that are zero throughout are left out.
    """
    groups: dict[tuple[str, float], dict[str, list[Arm]]] = {}
    for cell, arms in answer.cells.items():
        for name, arm in arms.items():
            if arm.finished:
                groups.setdefault((cell.role, cell.budget), {}).setdefault(name, []).append(arm)
    rows = []
    for (role, budget), methods in groups.items():
        reference = [
            mean for name in methods if name in study.baselines for mean in [_mean(methods[name], "flops")] if mean
        ]
        for name, arms in methods.items():
            flops = _mean(arms, "flops")
            rows.append(
                {
                    "budget": f"{'' if role == MAIN else f'{role}, '}budget {budget:g}",
                    "method": name,
                    "runs": f"{sum(len(arm.finished) for arm in arms)}",
                    "TFLOP": _number(flops, 1e-12),
                    "ratio": "–" if flops is None or not reference else f"{flops / min(reference):.2f}",
                    "forward (k)": _number(_mean(arms, "forward_samples"), 1e-3, 1),
                    "backward (k)": _number(_mean(arms, "backward_samples"), 1e-3, 1),
                    "seconds": _number(_mean(arms, "train_seconds")),
                    "planning": _number(_mean(arms, "plan_seconds")),
                    "scoring": _number(_mean(arms, "scoring_seconds")),
                    "core-set": _number(_mean(arms, "coreset_seconds")),
                }
            )
    silent = {name for name in rows[0] if all(row[name] in ("–", "0.00") for row in rows)} if rows else set()
    return [{name: text for name, text in row.items() if name not in silent} for row in rows]


def all_runs(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """Each run in a line."""
    return [
        {
            "where": str(place_of(Cell(one.role, one.variant, one.augmentation, one.budget))),
            "budget": f"{one.budget:g}",
            "method": one.method,
            "seed": str(one.seed),
            "accuracy": "–" if one.accuracy is None else wording.percent(one.accuracy),
            "training loss": _number(one.summary.get("train_loss"), digits=3),
            "TFLOP": _number(one.summary.get("flops"), 1e-12),
            "seconds": _number(one.summary.get("train_seconds")),
            "cv of visits": _number(one.summary.get("visits", {}).get("cv"), digits=3),
            "cell": one.cell,
            "error": one.error or ("" if one.status == "finished" else "no reason given"),
        }
        for one in outcomes
    ]


def in_common(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """What the runs have in common: data, network, machine, versions; several values where they differ."""
    found = []
    for name in (*CONSTANTS, "versions"):
        values = dict.fromkeys(_told(one.summary[name]) for one in outcomes if one.summary.get(name) is not None)
        if values:
            found.append((name.replace("num_samples", "samples").replace("_", " "), "; ".join(values)))
    return found


def totals(outcomes: Sequence[Outcome]) -> str:
    """What the whole study has spent, in one sentence."""
    flops = sum(one.summary.get("flops") or 0.0 for one in outcomes)
    seconds = sum(one.summary.get("train_seconds") or 0.0 for one in outcomes)
    compute = f"{flops / 1e15:,.2f} PFLOP" if flops >= 1e14 else f"{flops / 1e12:,.2f} TFLOP"
    return (
        f"{wording.counted(len(outcomes), 'run')}, {compute}, {clock(seconds)} of training (hours, minutes, seconds)."
    )


def _mean(arms: Sequence[Arm], name: str) -> float | None:
    means = [mean for arm in arms for mean in [arm.mean_of(name)] if mean is not None]
    return statistics.fmean(means) if means else None


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return "–" if value is None else f"{value * factor:,.{digits}f}"


def _told(value: Any) -> str:
    return ", ".join(f"{name} {one}" for name, one in value.items()) if isinstance(value, dict) else str(value)
