"""When a sample was learned and how often it was forgotten."""

import numpy as np

from training.inspect.learning import learning

RIGHT, WRONG, HALF, UNSEEN = 20, 230, 128, 0


def test_each_history_counts_what_it_shows():
    histories = {
        "learned at once": ([RIGHT, RIGHT, RIGHT], (3, 1, 0)),
        "learned late": ([WRONG, WRONG, RIGHT], (3, 3, 0)),
        "never learned": ([WRONG, WRONG, WRONG], (3, 0, 0)),
        "forgotten": ([RIGHT, WRONG, WRONG], (3, 1, 1)),
        "forgotten twice": ([RIGHT, WRONG, RIGHT, WRONG], (4, 1, 2)),
        "forgotten over a gap": ([RIGHT, UNSEEN, UNSEEN, WRONG], (2, 1, 1)),
        "not seen again": ([RIGHT, UNSEEN, UNSEEN], (1, 1, 0)),
        "never visited": ([], (0, 0, 0)),
        "one half is not right": ([HALF, RIGHT, HALF], (3, 2, 1)),
    }
    codes = np.zeros((4, len(histories)), np.uint8)
    for column, (history, _) in enumerate(histories.values()):
        codes[: len(history), column] = history
    found = zip(*(values.tolist() for values in learning(codes)), strict=True)
    assert dict(zip(histories, found, strict=True)) == {name: wanted for name, (_, wanted) in histories.items()}
