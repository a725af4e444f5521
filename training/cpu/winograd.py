"""Products by which a filter of three rows needs fewer multiplications (S. Winograd; A. Lavin and S. Gray, "Fast
algorithms for convolutional neural networks", arXiv:1509.09308, section 4.1). Knows numbers only.

Rows are polynomials' coefficients, a convolution is a product of polynomials, and that is known by its values at as
many points as it has coefficients. Two rows at a time have the points 0, 1, -1 and infinity, four products in place of
six; four rows have 0, 2/3, -2/3, 3/2, -3/2 and infinity, six in place of twelve. Errors grow to 1.7 times those of two
rows, with the usual 1 and 2 it would be 2.5 times (by the root of the mean square, with independent roundings); and
since 2/3 times 3/2 is 1 the factors are short.

With d the rows of the input from the one above a line to the one below it, y those of the output and g those of the
filter: at each point `two_taps` or `four_taps` say what is made of d; of y it is GRADIENT times y, of g the transposed
FILTER times g. For the filter's gradient the products of d's and y's are summed by FILTER, for the output those of d's
and g's by the transposed GRADIENT.
"""

import numpy as np

from training.cpu.team import block_of_work

NEAR, FAR = 2 / 3, 3 / 2
_POINTS = NEAR, -NEAR, FAR, -FAR
_FACTORS = tuple(1 / (2 * p**2 * (p**2 - q**2)) for p, q in ((NEAR, FAR), (NEAR, FAR), (FAR, NEAR), (FAR, NEAR)))
"""One over the values there of the polynomial whose zeros are the other finite points."""
_SQUARES = NEAR**2 + FAR**2


def _table(two: list[list[float]], four: list[list[float]]) -> np.ndarray:
    table = np.zeros((2, len(four), len(four[0])), np.float32)
    for rows, part in zip((two, four), table, strict=True):
        part[: len(rows), : len(rows[0])] = rows
    return table


GRADIENT = _table(
    [[1, 0], [1, 1], [1, -1], [0, 1]],
    [[1, 0, 0, 0], *([1, p, p**2, p**3] for p in _POINTS), [0, 0, 0, 1]],
)
"""float32 [2 (two or four rows), points, output rows], zeros where there are fewer."""
FILTER = _table(
    [[1, 1 / 2, 1 / 2, 0, 0], [0, 1 / 2, -1 / 2, 0, 1], [0, 1 / 2, 1 / 2, -1, 0]],
    [[k == 0, *(f * p**k for p, f in zip(_POINTS, _FACTORS, strict=True)), k == 2, k == 1] for k in range(3)],
)
"""float32 [2, filter rows, points], and behind these the middle row itself, for the last row of an image."""


def rows_of_line(height: int) -> int:
    """Two or four rows at a time: what needs fewer products for images of a height."""
    return min(2, 4, key=lambda rows: products_of_image(height, rows))


def products_of_image(height: int, rows: int) -> int:
    """How many products of one row each an image's rows need, three times the height if each were alone."""
    lines, alone = lines_of_image(height, rows)
    return lines * (rows + 2) + 2 * alone


def lines_of_image(height: int, rows: int) -> tuple[int, int]:
    """How many lines of so many rows there are, and how many last rows alone, none or one: the last of an odd number,
    or of one more than a multiple of four, takes two products, for there is nothing below it."""
    alone = 1 if height % rows == 1 else 0
    return -(-(height - alone) // rows), alone


@block_of_work
def two_taps(point):
    """What is made of d at a point of two rows: (row, factor) of what is summed, rows counted from a line's first."""
    one = np.float32(1)
    if point == 0:
        return (-1, one), (1, -one)
    if point == 1:
        return (0, one), (1, one)
    if point == 2:
        return (1, one), (0, -one)
    return (0, one), (2, -one)


@block_of_work
def four_taps(point):
    """The same for four rows; one of the factors may be zero. Those of the polynomial whose zeros are the other finite
    points; at infinity all are."""
    one, none, squares = np.float32(1), np.float32(0), np.float32(-_SQUARES)
    if point == 0:
        return (-1, one), (1, squares), (3, one), (0, none)
    if point == 5:
        return (0, one), (2, squares), (4, one), (1, none)
    p, q = (NEAR, FAR) if point < 3 else (FAR, NEAR)
    if point == 2 or point == 4:
        return (0, np.float32(q)), (1, np.float32(-q * q)), (2, np.float32(-p)), (3, one)
    return (0, np.float32(-q)), (1, np.float32(-q * q)), (2, np.float32(p)), (3, one)


@block_of_work
def single_tap(row):
    """A row itself, in the form of `two_taps`."""
    return (row, np.float32(1)), (row, np.float32(0))


@block_of_work
def sum_of_sizes(taps):
    """Of the factors."""
    total = np.float32(0)
    for tap in taps:
        total += abs(tap[1])
    return total
