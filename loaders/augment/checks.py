"""Tells what kind of value a person gave."""

import numbers


def is_number(value: object) -> bool:
    """Whether it is a real number, which True and False are not here."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
