"""Which pilots are made: an ordinary small study, cut to the time that it may take on this machine."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loaders.order.rounding import floor_fraction
from training.advise.options import Options
from training.compare.forecast import calibrate, full_flops
from training.compare.study import Cell, Study, make_study
from training.machine.signals import StopRequest

SCAN, SHARP = "scan", "p-sgd sharp"
METHODS: dict[str, dict[str, Any]] = {SCAN: {}, SHARP: {"method": "p-sgd", "smoothing": 0.1, "score": "average"}}
STANDARD = "standard"
MIXERS = ("RICAP", "mixup", "CutMix")
AUGMENTATIONS = (STANDARD, *MIXERS, "RandAugment")

LADDER = (1 / 8, 1 / 4, 1 / 2, 1)  # budgets of the pilots, in those of the largest one
LARGEST = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)  # its budget, in that of the planned run
MORE_SEEDS, SEEDS = (12, 8, 5), (3, 2)  # the former with the largest pilots only
LEAST_STEPS = 10  # of the smallest pilot
CALIBRATION_SECONDS = 3.0  # for each augmentation


@dataclass(frozen=True)
class Speed:
    """What a calibration on this machine gave.

    Attributes:
        flops_per_second: of training, by augmentation.
        overhead: seconds of a pilot beside its training.
        full_flops: of a pilot at a budget of 1.
    """

    flops_per_second: dict[str, float]
    overhead: float
    full_flops: float

    def seconds(self, augmentation: str, budget: float) -> float:
        """How long a pilot takes."""
        return budget * self.full_flops / self.flops_per_second[augmentation] + self.overhead


@dataclass(frozen=True)
class Design:
    """One way to spread pilots over budgets, seeds and arms.

    Attributes:
        largest: budget of the largest pilots, in that of the planned run.
        seeds: pilots of each arm at each budget.
        choosing: augmentations with which choosing samples is tried too: "all", "standard" or "none".
    """

    largest: float
    seeds: int
    choosing: str

    def grids(self, budget: float) -> list[dict[str, Any]]:
        """The parts of the study; `budget` is that of the planned run."""

        def part(**labels: list[str]) -> dict[str, Any]:
            return {"budgets": [budget * self.largest * step for step in LADDER], "seeds": self.seeds, **labels}

        if self.choosing == "all":
            return [part(methods=[SCAN, SHARP])]
        extra = [part(methods=[SHARP], augmentations=[STANDARD])] if self.choosing == STANDARD else []
        return [part(methods=[SCAN]), *extra]

    def seconds(self, budget: float, speed: Speed, num_workers: int) -> float:
        """How long all pilots take, and the look at the data, which is one more of the largest ones."""
        budgets = [budget * self.largest * step for step in LADDER]
        times = {name: sum(speed.seconds(name, each) for each in budgets) for name in AUGMENTATIONS}
        choosing = {"all": sum(times.values()), STANDARD: times[STANDARD], "none": 0.0}[self.choosing]
        look = speed.seconds(STANDARD, budgets[-1])
        return self.seeds * (sum(times.values()) + choosing) / num_workers + look


def study_values(options: Options, grids: list[dict[str, Any]]) -> dict[str, Any]:
    """The study file of the pilots.

    Each is a whole run with rates that fall to zero. Its epochs draw the same fraction of the training set as those of
    the planned run, and there are fewer of them: a method that chooses has as much to choose from.
    """
    settings = {key: value for key, value in options.settings.items() if key not in ("randaugment", "mixer_alpha")}
    return {
        "name": "pilots",
        "settings": {
            **settings,
            "data": options.data,
            "validation": options.validation,
            "budget_unit": "epochs",
            "epoch_fraction": options.budget,
        },
        "methods": METHODS,
        "augmentations": augmentations(options.settings),
        "grids": grids,
    }


def augmentations(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Label -> settings of the augmentations that are tried; the first is the standard one."""
    mixing = {"mixer_alpha": settings["mixer_alpha"]} if "mixer_alpha" in settings else {}
    given = [{}, *({"mixer": label.lower(), **mixing} for label in MIXERS)]
    return dict(zip(AUGMENTATIONS, [*given, {"randaugment": settings.get("randaugment", [2, 9])}], strict=True))


def designs(options: Options, num_trainable: int) -> Iterator[Design]:
    """The designs that make sense here, the most telling first: large pilots, then more seeds, then choosing.

    Args:
        num_trainable: training images that are not held out.

    Raises:
        ValueError: the planned run is so short that an eighth of a pilot has no steps.
    """
    config = make_study(study_values(options, Design(1, 1, "none").grids(options.budget)), options.own).cells[0].config
    steps = config.epochs * (num_trainable // config.batch_size)
    known = [largest for largest in LARGEST if floor_fraction(steps, options.budget * largest / 8) >= LEAST_STEPS]
    if not known:
        raise ValueError(
            f"{config.epochs} epochs at a budget of {options.budget:g} are {floor_fraction(steps, options.budget):,} "
            f"steps, of which the smallest pilot would have a sixteenth: fewer than {LEAST_STEPS}, so there is nothing "
            "to learn from pilots; plan for more --epochs or a smaller --batch_size"
        )
    can_choose = options.budget < 1
    for largest in known:
        for seeds in (*MORE_SEEDS, *SEEDS) if largest == known[0] and options.minutes is not None else SEEDS:
            yield Design(largest, seeds, "all" if can_choose else "none")
        if can_choose:
            yield Design(largest, SEEDS[-1], STANDARD)


def measure(options: Options, stop: StopRequest, num_workers: int) -> Speed:
    """Train for a few seconds with each augmentation, on as many threads as one of the workers will have."""
    values = study_values(options, [{"budgets": [options.budget], "seeds": 1, "methods": [SCAN]}])
    study = make_study(values, options.own)
    speeds, overheads = {}, []
    for cell in study.cells:
        start = time.monotonic()
        speeds[cell.augmentation] = calibrate(cell.config, CALIBRATION_SECONDS, stop, num_workers)
        overheads.append(time.monotonic() - start - CALIBRATION_SECONDS)
    whole = dataclasses.replace(study.cells[0].config, budget=1.0)
    return Speed(speeds, max(0.0, statistics.median(overheads)), full_flops(whole))


def choose_design(options: Options, candidates: list[Design], speed: Speed, num_workers: int) -> tuple[Design, float]:
    """The first design that fits into the minutes, and its seconds: those of its pilots, and of the look at the data.

    Raises:
        ValueError: none fits; says how many minutes the smallest one takes.
    """
    fewest = float("inf")
    for design in candidates:
        seconds = design.seconds(options.budget, speed, num_workers)
        if options.minutes is None or seconds <= 60 * options.minutes:
            return design, seconds
        fewest = min(fewest, seconds)
    raise ValueError(
        f"--minutes {options.minutes:g} is too short: the fewest pilots that tell anything take about "
        f"{fewest / 60:.1f} minutes here"
    )


def look_cell(study: Study) -> Cell:
    """The pilot whose like is made once more, to look at the data with its network: the largest plain one."""
    plain = [cell for cell in study.cells if cell.method == SCAN and cell.augmentation == STANDARD]
    return max(plain, key=lambda cell: (cell.config.budget, -cell.config.seed))
