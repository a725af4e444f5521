"""Learning rates as pure functions of the step.

Knows steps and totals; knows nothing of optimizers: the loop multiplies a group's base rate by the factor, or sets it.
"""


def warmup_linear(step: int, total_steps: int, *, warmup_steps: int = 0, final: float = 0.0) -> float:
    """The factor on the base rate: a linear rise over `warmup_steps`, then a linear fall to `final`.

    The rise ends at 1 in the step `warmup_steps - 1` and starts at 1 / warmup_steps, so that no step is wasted on a
    rate of 0; the fall would reach `final` in the step after the last, so that the last step still learns.

    Args:
        step: the step about to be taken, from 0; past the end the factor stays `final`.
        total_steps: number of steps of the run, at least 1.
        warmup_steps: length of the rise, in [0, total_steps].
        final: factor at the end, at least 0.

    Raises:
        ValueError: a negative step, no steps, or a rise longer than the run.
    """
    if step < 0 or total_steps < 1 or not 0 <= warmup_steps <= total_steps or final < 0:
        raise ValueError(
            f"warmup_linear got step={step}, total_steps={total_steps}, warmup_steps={warmup_steps}, final={final}: "
            "needs step >= 0, total_steps >= 1, 0 <= warmup_steps <= total_steps, final >= 0"
        )
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= total_steps:
        return final
    left = (total_steps - step) / (total_steps - warmup_steps)
    return final + (1.0 - final) * left


def linear_table(step: int, total_steps: int, lr: float, *, end: float = 1e-6) -> float:
    """The reference's rate: entry `step` of `linspace(lr, end, total_steps)`, both ends included.

    Args:
        step: the step about to be taken, from 0; past the end the rate stays `end`.
        total_steps: number of steps of the run, at least 1; a run of one step takes `lr`.
        lr: the rate of the first step.
        end: the rate of the last step.

    Raises:
        ValueError: a negative step or no steps.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"linear_table got step={step}, total_steps={total_steps}: needs step >= 0, total_steps >= 1")
    if step >= total_steps:
        return end
    if total_steps == 1:
        return lr
    return lr + (end - lr) * (step / (total_steps - 1))
