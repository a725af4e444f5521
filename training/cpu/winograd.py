"""Products by which a filter of three rows needs fewer multiplications (S. Winograd; A. Lavin and S. Gray, "Fast
algorithms for convolutional neural networks", arXiv:1509.09308, section 4.1). Knows numbers only.

Rows are polynomials' coefficients, a convolution is a product of polynomials, and that is known by its values at as
many points as it has coefficients. Two rows at a time have the points 0, 1, -1 and infinity, four products in place of
six; four rows have 0, 2/3, -2/3, 3/2, -3/2 and infinity, six in place of twelve. Those halve the errors that the usual
1 and 2 would bring (a search by the errors' sum of squares), and since 2/3 times 3/2 is 1 the factors are short.

With d the rows of the input from the one above a line to the one below it, y those of the output, or of its gradient,
and g those of the filter: the product at a point is INPUT d times GRADIENT y for the filter's gradient, whose rows are
FILTER times these.
"""

import numpy as np

MOST_ROWS, MOST_POINTS = 4, 6
_A, _B = 2 / 3, 3 / 2


def _padded(rows: list[list[float]], height: int, width: int) -> np.ndarray:
    table = np.zeros((height, width), np.float32)
    for place, row in zip(table, rows, strict=False):
        place[: len(row)] = row
    return table


def _both(two: list[list[float]], four: list[list[float]], height: int, width: int) -> np.ndarray:
    return np.stack([_padded(two, height, width), _padded(four, height, width)])


_TWO_INPUT = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
_TWO_GRADIENT = [[1, 0], [1, 1], [1, -1], [0, 1]]
_TWO_FILTER = [[1, 1 / 2, 1 / 2, 0], [0, 1 / 2, -1 / 2, 0], [0, 1 / 2, 1 / 2, -1]]

_SQUARES = _A**2 + _B**2
_FOUR_INPUT = [
    [1, 0, -_SQUARES, 0, 1, 0],  # (x^2 - a^2) (x^2 - b^2)
    [0, -_B, -(_B**2), _A, 1, 0],  # x (x + a) (x^2 - b^2)
    [0, _B, -(_B**2), -_A, 1, 0],
    [0, -_A, -(_A**2), _B, 1, 0],
    [0, _A, -(_A**2), -_B, 1, 0],
    [0, 1, 0, -_SQUARES, 0, 1],  # x times the first
]
_FOUR_GRADIENT = [[1, 0, 0, 0], *([1, p, p**2, p**3] for p in (_A, -_A, _B, -_B)), [0, 0, 0, 1]]
_U, _V = 1 / (2 * _A**2 * (_A**2 - _B**2)), 1 / (2 * _B**2 * (_B**2 - _A**2))
_FOUR_FILTER = [
    [1, _U, _U, _V, _V, 0],
    [0, _U * _A, -_U * _A, _V * _B, -_V * _B, 0],
    [0, _U * _A**2, _U * _A**2, _V * _B**2, _V * _B**2, 1],
]

INPUT = _both(_TWO_INPUT, _FOUR_INPUT, MOST_POINTS, MOST_POINTS)
"""float32 [2 (two or four rows), points, input rows], zeros where there are fewer."""
GRADIENT = _both(_TWO_GRADIENT, _FOUR_GRADIENT, MOST_POINTS, MOST_ROWS)
"""float32 [2, points, output rows]."""
FILTER = _both(_TWO_FILTER, _FOUR_FILTER, 3, MOST_POINTS)
"""float32 [2, filter rows, points]."""


def rows_of_line(height: int) -> int:
    """Two or four rows at a time: what needs fewer products for pictures of a height."""
    return 4 if -(-height // 4) * 6 < -(-height // 2) * 4 else 2
