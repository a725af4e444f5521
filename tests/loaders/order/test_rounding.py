"""Fractions are exact, as decimals: no sample is lost or won to rounding, however many there are."""

import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.order.rounding import ceil_fraction, floor_fraction


@given(st.integers(0, 10**10), st.integers(0, 10**4))
@settings(max_examples=2000, deadline=None)
def test_fractions_are_those_of_the_decimal(num, ten_thousandths):
    fraction, exact = ten_thousandths / 10**4, num * Fraction(ten_thousandths, 10**4)
    assert floor_fraction(num, fraction) == math.floor(exact)
    assert ceil_fraction(num, fraction) == math.ceil(exact)
