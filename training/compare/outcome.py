"""The result of one cell of a study."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The result of one cell of a study.

    Attributes:
        cell: the hash that names it.
        method: its label in the study file, such as "p-sgd sharp".
        augmentation: its label, such as "RICAP".
        variant: label of a further factor, such as "weight decay 5e-4"; "" where there is none.
        role: "main", "positive control" or "negative control".
        budget: as in the settings of a run.
        seed: likewise.
        status: "finished" or "failed": a run that diverged is an outcome, not a gap.
        error: the sentence of a failed run, else "".
        accuracy: of the last epoch, in [0, 1], on what the run is tested on (the test set, unless its settings say
            otherwise); None where the run failed.
        summary: summary.json of the run; empty where it failed.
    """

    cell: str
    method: str
    augmentation: str
    variant: str
    role: str
    budget: float
    seed: int
    status: str
    error: str
    accuracy: float | None
    summary: dict[str, Any]
