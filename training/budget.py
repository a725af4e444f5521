"""How much a run may spend, in which unit, and how much of it is spent."""

import math
from dataclasses import dataclass, replace

import numpy as np

from loaders.order.rounding import floor_fraction
from training.config import BudgetOptions, Config
from training.ledger import Flops, Ledger


@dataclass(frozen=True)
class Budget:
    """What a run may spend. The run ends before the step that would not fit, so it never spends more.

    Attributes:
        unit: "steps", "flops" or "seconds" (of training, on the wall clock).
        total: in that unit; a whole number of steps.
        steps_per_epoch: of a whole epoch; None where epochs differ in length.
        step_cost: FLOPs of the most expensive step, with the scoring of one batch; the cost in seconds is the mean of
            the steps so far.
        charged: what was spent before the first step, in that unit, on a core-set; progress is that of the rest.
        work: of a budget in FLOPs, the fraction that is spent at the end of each of the images' sizes, which have equal
            parts of the run. Empty where the size never changes.
    """

    unit: str
    total: float
    steps_per_epoch: int | None
    step_cost: float = 0.0
    charged: float = 0.0
    work: tuple[float, ...] = ()

    def spent(self, ledger: Ledger) -> float:
        """How much is spent, in the budget's unit."""
        return {"steps": ledger.steps, "flops": ledger.flops, "seconds": ledger.train_seconds}[self.unit]

    def progress(self, ledger: Ledger) -> float:
        """How far the run is, in [0, 1]: the fraction that is spent of the budget, less what was charged.

        Of a budget in FLOPs it is the fraction of its steps, which cost less while the images are small: the rates and
        the sizes are the same as under a budget of steps.
        """
        spent = min(1.0, (self.spent(ledger) - self.charged) / (self.total - self.charged))
        return float(np.interp(spent, (0.0, *self.work), np.linspace(0, 1, len(self.work) + 1))) if self.work else spent

    def is_spent(self, ledger: Ledger) -> bool:
        """Whether another step does not fit; in seconds, one step always does."""
        if self.unit == "steps":
            return ledger.steps >= self.total
        if self.unit == "seconds" and ledger.steps == 0:
            return False
        spent = self.spent(ledger)
        cost = self.step_cost if self.unit == "flops" else (spent - self.charged) / ledger.steps
        return spent + cost > self.total * (1 + 1e-9)

    @property
    def total_steps(self) -> int | None:
        """Steps of the run; None when only the run will tell."""
        return int(self.total) if self.unit == "steps" else None

    @property
    def num_epochs(self) -> int | None:
        """Epochs of the run, the last one perhaps cut short; None when only the run will tell."""
        return math.ceil(self.total / self.steps_per_epoch) if self.unit == "steps" and self.steps_per_epoch else None


LARGEST_DEFAULT_BATCH = 250


def with_batch_size(config: Config, num_samples: int, num_ranks: int) -> Config:
    """The settings with a batch size, where they leave it to the data.

    That is a twentieth of the training set, at most 250: the same for every budget and core-set, so that runs on one
    data set compare. It is a multiple of the number of ranks.
    """
    if config.batch_size:
        return config
    fitting = min(LARGEST_DEFAULT_BATCH, max(2, num_samples // 20))
    return replace(config, batch_size=max(1, fitting // num_ranks) * num_ranks)


DRAWN_IN_SECONDS = 0.3
"""Fraction of the training set that an epoch of a choosing method draws where the budget, in seconds, says none."""


def draw_fraction(config: BudgetOptions, chooses: bool) -> float:
    """Fraction of the training set that one epoch draws.

    In every unit an epoch of a method that chooses draws the budget's own fraction, so that the same budget counted in
    another unit is the same experiment. Where the budget is in seconds that is `DRAWN_IN_SECONDS`.

    Args:
        chooses: whether the method chooses once an epoch (`Method.chooses`).
    """
    if config.budget_unit == "samples":
        return config.budget
    if config.epoch_fraction is not None:
        return config.epoch_fraction
    if not chooses:
        return 1.0
    return DRAWN_IN_SECONDS if config.budget_unit == "seconds" else config.budget


def make_budget(
    config: BudgetOptions,
    num_samples: int,
    flops: dict[int | None, Flops],
    makes_passes: bool = False,
    even_epochs: bool = True,
    charged: Ledger | None = None,
    fraction: float | None = None,
    sizes: tuple[int, ...] = (),
) -> Budget:
    """The budget that the settings describe (docs/methods.md, "Budgets").

    Args:
        num_samples: N.
        flops: per sample, by the images' size; None is their own.
        makes_passes: whether the method makes forward passes for scores alone.
        even_epochs: whether the method's epochs have just those samples.
        charged: what the run has spent before its first step.
        fraction: of the samples that one epoch draws (`draw_fraction`; None is that of a method that does not choose).
            An epoch of the budget is the whole batches in floor(N * fraction) samples, whatever number of samples the
            method's own epochs have.
        sizes: of the images, in equal parts of the run; empty is their own size throughout.

    Raises:
        ValueError: the budget does not pay for one step.
    """
    batch_size = config.batch_size
    fraction = draw_fraction(config, chooses=False) if fraction is None else fraction
    steps, whole = floor_fraction(num_samples, fraction) // batch_size, num_samples // batch_size
    per_epoch = steps if even_epochs else None
    if config.budget_unit == "samples":
        budget = Budget("steps", config.epochs * steps, per_epoch)
    elif config.budget_unit == "epochs":
        budget = Budget("steps", floor_fraction(config.epochs * whole, config.budget), per_epoch)
    elif config.budget_unit == "flops":
        shown = [flops[size] for size in sizes or (None,)]
        costs = np.array([cost.step for cost in shown])
        full = config.epochs * whole * batch_size * costs.mean()
        step_cost = max(cost.step + makes_passes * cost.forward for cost in shown) * batch_size
        work = tuple((np.cumsum(costs) / costs.sum()).tolist()) if len(set(sizes)) > 1 else ()
        budget = Budget("flops", config.budget * float(full), per_epoch, step_cost, work=work)
    else:
        budget = Budget("seconds", config.budget, per_epoch)
    if charged is not None:
        budget = replace(budget, charged=budget.spent(charged))
    if budget.charged and budget.charged + budget.step_cost >= budget.total:
        raise ValueError(
            f"the core-set cost {budget.charged / budget.total:.2f} of the budget and leaves no step: raise the budget "
            "or choose the core-set with a smaller network or fewer epochs"
        )
    if budget.unit != "seconds" and budget.total < max(1, budget.step_cost):
        raise ValueError(
            f"a budget of {budget_text(config)} does not pay for one step: raise it, or lower the batch size"
        )
    return budget


def budget_text(config: BudgetOptions) -> str:
    """The budget in words."""
    budget, epochs = f"{config.budget:g}", f"{config.epochs} epochs"
    return {
        "samples": f"{budget} of the samples in each of {epochs}",
        "epochs": f"{budget} of {epochs}",
        "flops": f"{budget} of the FLOPs of {epochs}",
        "seconds": f"{budget} s of training",
    }[config.budget_unit]


def who_pays(config: BudgetOptions) -> str:
    """Who pays for a core-set, in words."""
    is_paid = config.budget_unit in ("flops", "seconds")
    return "paid from the budget" if is_paid else f"on top of a budget of {config.budget_unit}"
