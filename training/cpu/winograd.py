"""Products by which a filter of three rows needs fewer multiplications (S. Winograd; A. Lavin and S. Gray, "Fast
algorithms for convolutional neural networks", arXiv:1509.09308, section 4.1). Knows numbers only.

Rows are polynomials' coefficients, a convolution is a product of polynomials, and that is known by its values at as
many points as it has coefficients. Two rows at a time have the points 0, 1, -1 and infinity, four products in place of
six; four rows have 0, 2/3, -2/3, 3/2, -3/2 and infinity, six in place of twelve. Those halve the errors that the usual
1 and 2 would bring (a search by the errors' sum of squares), and since 2/3 times 3/2 is 1 the factors are short.

With d the rows of the input from the one above a line to the one below it, y those of the output and g those of the
filter: for the filter's gradient the product at a point is INPUT d times GRADIENT y, and the gradient's rows are FILTER
times these; for the output it is INPUT d times the transposed FILTER g, and y is the transposed GRADIENT times these.
"""

import numpy as np

from training.cpu.team import block_of_work

MOST_ROWS, MOST_POINTS = 4, 6
NEAR, FAR = 2 / 3, 3 / 2
NEAR_FACTOR = 1 / (2 * NEAR**2 * (NEAR**2 - FAR**2))
"""By which the filter is multiplied at +-NEAR, for there the polynomial of all other finite points is one over this."""
FAR_FACTOR = 1 / (2 * FAR**2 * (FAR**2 - NEAR**2))


def _padded(rows: list[list[float]], height: int, width: int) -> np.ndarray:
    table = np.zeros((height, width), np.float32)
    for place, row in zip(table, rows, strict=False):
        place[: len(row)] = row
    return table


def _both(two: list[list[float]], four: list[list[float]], height: int, width: int) -> np.ndarray:
    return np.stack([_padded(two, height, width), _padded(four, height, width)])


_TWO_INPUT = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
_TWO_GRADIENT = [[1, 0], [1, 1], [1, -1], [0, 1]]
_TWO_FILTER = [[1, 1 / 2, 1 / 2, 0, 0], [0, 1 / 2, -1 / 2, 0, 1], [0, 1 / 2, 1 / 2, -1, 0]]

_SQUARES = np.float32(-(NEAR**2) - FAR**2)
_ONE, _NONE = np.float32(1), np.float32(0)
_FOUR_INPUT = [
    [1, 0, _SQUARES, 0, 1, 0],  # (x^2 - near^2) (x^2 - far^2)
    [0, -FAR, -(FAR**2), NEAR, 1, 0],  # x (x + near) (x^2 - far^2)
    [0, FAR, -(FAR**2), -NEAR, 1, 0],
    [0, -NEAR, -(NEAR**2), FAR, 1, 0],
    [0, NEAR, -(NEAR**2), -FAR, 1, 0],
    [0, 1, 0, _SQUARES, 0, 1],  # x times the first
]
_FINITE = (NEAR, NEAR_FACTOR), (-NEAR, NEAR_FACTOR), (FAR, FAR_FACTOR), (-FAR, FAR_FACTOR)
_FOUR_GRADIENT = [[1, 0, 0, 0], *([1, p, p**2, p**3] for p, _ in _FINITE), [0, 0, 0, 1]]
_FOUR_FILTER = [[1.0 * (k == 0), *(f * p**k for p, f in _FINITE), 1.0 * (k == 2), 1.0 * (k == 1)] for k in range(3)]

INPUT = _both(_TWO_INPUT, _FOUR_INPUT, MOST_POINTS, MOST_POINTS)
"""float32 [2 (two or four rows), points, input rows], zeros where there are fewer."""
GRADIENT = _both(_TWO_GRADIENT, _FOUR_GRADIENT, MOST_POINTS, MOST_ROWS)
"""float32 [2, points, output rows]."""
FILTER = _both(_TWO_FILTER, _FOUR_FILTER, 3, MOST_POINTS + 1)
"""float32 [2, filter rows, points], behind these the middle row itself, for the last row of a picture."""


def rows_of_line(height: int) -> int:
    """Two or four rows at a time: what needs fewer products for pictures of a height. The last of an odd number, or of
    one more than a multiple of four, is alone and takes two products, for there is nothing below it."""
    two, four = height // 2 * 4 + height % 2 * 2, height // 4 * 6 + (0, 2, 6, 6)[height % 4]
    return 4 if four < two else 2


def lines_of_picture(height: int, rows: int) -> tuple[int, int]:
    """How many lines of so many rows there are, and how many last rows alone, none or one."""
    alone = 1 if height % rows == 1 else 0
    return -(-(height - alone) // rows), alone


@block_of_work
def two_taps(point):
    """Row INPUT has for a point of two rows: (row, factor) of what is not zero, rows counted from a line's first."""
    if point == 0:
        return (-1, _ONE), (1, -_ONE)
    if point == 1:
        return (0, _ONE), (1, _ONE)
    if point == 2:
        return (1, _ONE), (0, -_ONE)
    return (0, _ONE), (2, -_ONE)


@block_of_work
def four_taps(point):
    """The same for a point of four rows; one of the four factors may be zero."""
    if point == 0:
        return (-1, _ONE), (1, _SQUARES), (3, _ONE), (0, _NONE)
    if point == 5:
        return (0, _ONE), (2, _SQUARES), (4, _ONE), (1, _NONE)
    table = INPUT[1, point]
    return (0, table[1]), (1, table[2]), (2, table[3]), (3, table[4])


@block_of_work
def single_tap(row):
    """As `two_taps`: a row itself."""
    return (row, _ONE), (row, _NONE)


@block_of_work
def sum_of_sizes(taps):
    """Of the factors."""
    total = _NONE
    for tap in taps:
        total += abs(tap[1])
    return total
