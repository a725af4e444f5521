"""Outcomes of studies that nobody ran, with effects that are known."""

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from training.compare.answer.facts import StudyFacts
from training.compare.outcome import Outcome

METHODS = ("scan", "uniform", "p-sgd", "p-sgd sharp", "infobatch")
AUGMENTATIONS = ("standard", "mixup", "RICAP")
BUDGETS = (0.1, 0.3, 1.0)
WHOLE_FLOPS = 4e12

Accuracy = Callable[[str, str, float], float]
"""Expected accuracy of a method under an augmentation at a budget."""


def facts(outcomes: list[Outcome], **changes) -> StudyFacts:
    """A study whose runs have all ended."""
    values = {
        "name": "synthetic",
        "planned": len(outcomes),
        "baselines": ("scan", "uniform"),
        "methods": METHODS,
        "augmentations": AUGMENTATIONS,
        "variants": tuple(dict.fromkeys(one.variant for one in outcomes)),
    }
    return StudyFacts(**{**values, **changes})


def run(method="uniform", seed=0, accuracy: float | None = 0.5, **changes) -> Outcome:
    """One finished run."""
    values = {"augmentation": "standard", "variant": "", "role": "main", "budget": 0.3, **changes}
    name = f"{zlib.crc32(repr((method, seed, sorted(values.items()))).encode()):08x}"
    flops = WHOLE_FLOPS * values["budget"]
    chooses = method not in ("scan", "uniform")
    cv = {"scan": 0.0, "uniform": 0.11}.get(method, 0.3 if values["budget"] < 1 else 0.0)
    summary = {
        "flops": flops,
        "train_seconds": 200 * values["budget"] + seed,
        "plan_seconds": 0.4,
        "scoring_seconds": 0.0,
        "data_seconds": 1.5,
        "samples": int(8e5 * values["budget"]),
        "forward_samples": int(8e5 * values["budget"]),
        "backward_samples": int(8e5 * values["budget"]),
        "images_per_second": 4000.0,
        "train_loss": 0.4,
        "visits": {"entropy": 8.29 - cv**2 / 2, "entropy_deficit": cv**2 / 2, "cv": cv, "min": 20.0, "max": 90.0},
        "did_not_choose": None,
        "processor": "a processor",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    if chooses and values["budget"] == 1:
        summary["did_not_choose"] = f"{method} draws all 4,000 samples in each epoch, so it cannot choose"
    return Outcome(name, method, seed=seed, status="finished", error="", accuracy=accuracy, summary=summary, **values)


def runs(method: str, mean: float, num_seeds: int = 5, sd: float = 0.004, **changes) -> list[Outcome]:
    """Runs whose accuracies have exactly this mean and standard deviation, whatever their seeds."""
    if num_seeds == 1:
        return [run(method, 0, mean, **changes)]
    key = zlib.crc32(repr((method, sorted(changes.items()))).encode())
    noise = np.random.default_rng(key).normal(size=num_seeds)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return [run(method, seed, float(mean + sd * noise[seed]), **changes) for seed in range(num_seeds)]


def failed(one: Outcome, error: str = "the loss is not finite after 12 steps") -> Outcome:
    """The same run, diverged."""
    return replace(one, status="failed", error=error, accuracy=None, summary={})


def spends(some: list[Outcome], factor: float) -> list[Outcome]:
    """The same runs with so many times the FLOPs."""
    return [replace(one, summary={**one.summary, "flops": factor * one.summary["flops"]}) for one in some]


def grid(
    accuracy: Accuracy,
    methods=METHODS,
    augmentations=AUGMENTATIONS,
    budgets=BUDGETS,
    variants=("",),
    num_seeds=5,
    sd=0.004,
) -> list[Outcome]:
    """A whole grid; only baselines run at budget 1."""
    return [
        one
        for variant in variants
        for augmentation in augmentations
        for budget in budgets
        for method in methods
        if budget < 1 or method in ("scan", "uniform")
        for one in runs(
            method,
            accuracy(method, augmentation, budget),
            num_seeds,
            sd,
            augmentation=augmentation,
            budget=budget,
            variant=variant,
        )
    ]


def null(method: str, augmentation: str, budget: float) -> float:
    """No method matters; RICAP at 0.3 is five points better than standard at 1."""
    of_budget = {0.1: 0.42, 0.3: 0.52, 1.0: 0.525}[budget]
    return of_budget + {"standard": 0.0, "mixup": 0.02, "RICAP": 0.055}[augmentation]


def controls(positive: float = 0.05, negative: float = -0.05, num_seeds: int = 5) -> list[Outcome]:
    """Both controls, with the effect of p-sgd sharp in each."""
    found = []
    for role, effect in (("positive control", positive), ("negative control", negative)):
        for method in METHODS:
            mean = 0.4 + (effect if method == "p-sgd sharp" else 0.0)
            found += runs(method, mean, num_seeds, role=role)
    return found
