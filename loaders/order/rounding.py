"""How many samples a share of them is. The product of a decimal share may miss a whole number by its last bits."""

import math

_LAST_BITS = 2.0**-51  # twice what the share and the product are rounded by


def floor_fraction(num: float, share: float) -> int:
    """floor(num * share), where 0.29 * 100 = 28.999999999999996 is 29."""
    return math.floor(num * share * (1 + _LAST_BITS))


def ceil_fraction(num: float, share: float) -> int:
    """ceil(num * share), where 0.07 * 100 = 7.000000000000001 is 7."""
    return math.ceil(num * share * (1 - _LAST_BITS))
