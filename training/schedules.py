"""Rates as pure functions of progress, the share of the budget that is spent. Knows no optimizer, step or unit."""


def linear(progress: float, start: float, end: float, until: float = 1.0) -> float:
    """From `start` at progress 0 to `end` at progress `until`; `end` from there on.

    Args:
        progress: in [0, 1], before the step about to be taken. With `until` 1 the end lies behind the last step, which
            still learns; with `until` the progress before the last step, that step takes `end`: entry k of
            `linspace(start, end, n)` is the value at progress k / n with `until` (n - 1) / n.
        until: in (0, 1]; 0 is a run of one step, which takes `start`.

    Raises:
        ValueError: a progress or an `until` out of range.
    """
    if not 0 <= progress <= 1 or not 0 <= until <= 1:
        raise ValueError(f"linear got progress={progress}, until={until}: both are shares from 0 to 1")
    if progress == 0:
        return start
    return end if progress >= until else start + (end - start) * (progress / until)
