"""What the report of a study needs besides its outcomes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StudyFacts:
    """A study as its report sees it. Labels are those of the study file, in its order.

    Attributes:
        name: of the study.
        planned: number of runs in the whole grid, those that have not run yet included.
        baselines: labels of the methods that do not choose (a uniform order, a shuffled pass); the better one of a
            cell is what the others are compared with.
        methods, augmentations, variants: all labels; those missing here come last.
        standard: label of the standard augmentation; the first one if "".
        description: a sentence or more on what was asked.
        settings: the study file, as it is on disk.
        command: what to type to run the study again.
        margin: differences of accuracy that count as none, for the equivalence test; 0.01 is one point.
        maintain_margin: how much accuracy the smaller budget may lose and still "maintain" it; 0.003 is 0.3 points.
        small_budget: the one that is asked to do as well as the largest one; if no run has it, the largest but one.
    """

    name: str
    planned: int
    baselines: tuple[str, ...]
    methods: tuple[str, ...] = ()
    augmentations: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    standard: str = ""
    description: str = ""
    settings: str = ""
    command: str = ""
    margin: float = 0.01
    maintain_margin: float = 0.003
    small_budget: float = 0.3

    @property
    def standard_augmentation(self) -> str:
        """Label of the standard augmentation; "" where nothing says which it is."""
        return self.standard or next(iter(self.augmentations), "")
