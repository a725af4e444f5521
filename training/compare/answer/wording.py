"""Numbers as text: accuracies in percent, differences in percentage points."""

import math
import re
from collections.abc import Sequence

from training.compare.answer.statistics import Difference, Interval


def percent(accuracy: float) -> str:
    """0.5234 as "52.34 %"."""
    return f"{100 * accuracy:.2f} %"


def points(difference: float) -> str:
    """0.0051 as "+0.51", in accuracy points."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def interval(found: Interval | Difference) -> str:
    """The bounds of a difference in points: "−0.20 to +1.31"; of one run: "one seed"."""
    return "one seed" if math.isinf(found.low) else f"{points(found.low)} to {points(found.high)}"


def difference(found: Difference) -> str:
    """ "+0.51 points (95 % interval −0.20 to +1.31)"."""
    bounds = interval(found)
    return f"{points(found.value)} points ({bounds if bounds == 'one seed' else f'95 % interval {bounds}'})"


def plus_minus(found: Difference) -> str:
    """ "+0.51 ± 0.76", in points; of one seed without the second number."""
    half = "" if math.isinf(found.low) else f" ± {100 * (found.high - found.value):.2f}"
    return f"{points(found.value)}{half}"


def margin(value: float) -> str:
    """0.01 as "1 point", 0.003 as "0.3 points"."""
    return f"{100 * value:g} point{'' if math.isclose(value, 0.01) else 's'}"


def p_value(p: float) -> str:
    """Three digits, never zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def pattern(text: str) -> str:
    """A sentence without its numbers, by which those that say the same of others are grouped."""
    return re.sub(r"\d[\d.,]*", "#", text)


def counted(number: int, noun: str, plural: str = "") -> str:
    """ "1 cell", "2 cells"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
