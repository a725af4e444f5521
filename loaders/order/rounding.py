"""Round the product of a number of samples and a fraction as if the fraction were an exact decimal.

In floating point, 0.29 * 100 is 28.999999999999996, whose floor would lose a sample.
"""

import math

_TOLERANCE = 2.0**-51  # relative; twice the rounding error of the fraction and the product together


def floor_fraction(num: float, fraction: float) -> int:
    """floor(num * fraction): the fraction of `num`, rounded down. `floor_fraction(100, 0.29)` is 29."""
    return math.floor(num * fraction * (1 + _TOLERANCE))


def ceil_fraction(num: float, fraction: float) -> int:
    """ceil(num * fraction): the fraction of `num`, rounded up. `ceil_fraction(100, 0.07)` is 7."""
    return math.ceil(num * fraction * (1 - _TOLERANCE))
