"""curve.png."""

import matplotlib.image
import numpy as np

from training.report.plot import draw_curve


def row(epoch: int, accuracy: float | None) -> dict:
    loss = accuracy and 1 - accuracy
    return {
        "epoch": epoch,
        "samples": 100 * epoch,
        "train_loss": 1 / epoch,
        "test_accuracy": accuracy,
        "test_loss": loss,
    }


def test_it_is_an_image_also_where_epochs_were_not_tested(tmp_path):
    for number, rows in enumerate(([row(1, None), row(2, 0.5)], [row(1, None)])):
        path = tmp_path / f"{number}.png"
        draw_curve(path, rows, "a title")
        assert np.ptp(matplotlib.image.imread(path)) > 0


def test_without_rows_there_is_none(tmp_path):
    draw_curve(tmp_path / "curve.png", [], "a title")
    assert not list(tmp_path.iterdir())
