"""Tells which files of a numbered series are missing, from the names of the others."""

import re
from collections import defaultdict
from collections.abc import Iterable

_COUNTED = re.compile(r"(.*?)(\d{1,9})-of-(\d{1,6})(?!\d).*")  # such as train-00000-of-00005.parquet
_NUMBERED = re.compile(r"(.*?)(\d{1,9})(\D*)")  # such as train-000.tar


def missing_in_series(names: Iterable[str]) -> list[str]:
    """Names that numbered names leave out.

    Of `NAME-00000-of-00005` all five are a series, whatever follows. Some count from 1: where neither number 0 nor the
    last one is there, no name tells which of the two is missing. Otherwise a series runs from its lowest number to its
    highest, where fewer are missing than are there: 2012 and 2020 are no series.

    Returns:
        the names, without what follows a count, in the order of their numbers; "first or last" where either may be
        missing.
    """
    series: defaultdict[tuple[str, str, int], dict[int, int]] = defaultdict(dict)
    for name in names:
        if counted := _COUNTED.fullmatch(name):
            before, number, of = counted.groups()
            series[before, f"-of-{of}", int(of)][int(number)] = len(number)
        elif numbered := _NUMBERED.fullmatch(name):
            before, number, after = numbered.groups()
            series[before, after, 0][int(number)] = len(number)
    missing: list[str] = []
    for (before, after, count), digits in series.items():
        first, last, width = min(digits), max(digits), min(digits.values())
        if count and 0 not in digits and count not in digits:
            missing.append(f"{before}{0:0{width}d}{after} or {before}{count:0{width}d}{after}")
            first, last = 1, count - 1
        elif count:
            first = int(0 not in digits)
            last = first + count - 1
        if count or last - first + 1 < 2 * len(digits):
            missing += [f"{before}{k:0{width}d}{after}" for k in range(first, last + 1) if k not in digits]
    return missing
