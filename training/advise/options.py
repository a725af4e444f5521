"""Options of `python -m training.advise`: a frozen value and its command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.arguments import underscored
from training.compare.options import Parser, settings_of
from training.machine.commands import command
from training.own_code import is_own

_TAKEN = ("method", "mixer", "seed", "budget_unit", "epoch_fraction", "coreset", "eval_every", "config", "resume")
_EPILOG = (
    "Other options are settings of the run that is planned (python -m training.run --help): --epochs 50 --model "
    "resnet8; --randaugment and --mixer_alpha are those of the augmentations that are tried. May be stopped at any "
    "time; the same command goes on, and with more --minutes it adds pilots. docs/how-to/advise.md has an example."
)


@dataclass(frozen=True)
class Options:
    """Which run is planned, and what may be spent on the advice.

    Attributes:
        data: folder of the data.
        budget: fraction of the training set that an epoch of the planned run uses.
        minutes: for the pilots; None makes all of them.
        validation: fraction of the training set that the pilots are tested on.
        settings: the other settings of the planned run.
        folder: where pilots and advice are kept.
        num_workers: pilots at a time; None is one for each GPU, or for each core.
    """

    data: str
    budget: float
    minutes: float | None
    validation: float
    settings: dict[str, Any]
    folder: Path
    num_workers: int | None

    def __post_init__(self):
        if not 0 < self.budget <= 1:
            raise ValueError(f"--budget must be above 0 and at most 1, got {self.budget:g}: 0.3 is 30 % an epoch")
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ValueError(f"--minutes must be above 0, got {self.minutes:g}")
        if not 0 < self.validation < 1:
            raise ValueError(
                f"--validation must be above 0 and below 1, got {self.validation:g}: the test set stays untouched, so "
                "the pilots need images to be tested on"
            )
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.num_workers}")
        for name in self.settings:
            if name in _TAKEN:
                raise ValueError(f"--{name} is not for advise, which decides it for its pilots: leave it out")

    @property
    def own(self) -> tuple[str, ...]:
        """The planned run's network where it is FILE.py:FUNCTION: the command line names it, so its file may run."""
        model = self.settings.get("model", "")
        return (model,) if is_own(model) else ()


def parse_options(argv: list[str] | None = None) -> Options:
    """Read a command line.

    Raises:
        ValueError: one sentence for what is not allowed.
    """
    parser = Parser(
        prog=command("advise"),
        usage=f"{command('advise')} --data PATH --budget B [--minutes M] [options] [settings]",
        description="Recommend an augmentation and a method for a budget, from short pilots on your data.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--data", required=True, help="folder made by a script of convert/")
    parser.add_argument("--budget", required=True, type=float, help="fraction of the data that an epoch may use")
    parser.add_argument("--minutes", type=float, help="for the pilots; all of them are made when not given")
    parser.add_argument(
        "--validation", type=float, default=0.1, help="fraction of the training set that pilots are tested on"
    )
    parser.add_argument("--out", help="folder of pilots and advice; advice/NAME of the data when not given")
    parser.add_argument("--workers", type=int, help="pilots at a time; one for each GPU, or for each core")
    known, others = parser.parse_known_args(underscored(sys.argv[1:] if argv is None else argv))
    if others and not others[0].startswith("-"):
        raise ValueError(f"{others[0]!r:.100} is no option (--help lists the options)")
    return Options(
        data=known.data,
        budget=known.budget,
        minutes=known.minutes,
        validation=known.validation,
        settings=settings_of(others),
        folder=Path(known.out or f"advice/{Path(known.data).name}"),
        num_workers=known.workers,
    )
