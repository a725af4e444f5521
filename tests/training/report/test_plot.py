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


def test_a_run_that_did_not_choose_says_so_on_the_picture(tmp_path):
    warning = "p-sgd draws all 600 samples in each epoch, so it cannot choose: give a --budget below 1"
    for name, text in (("plain.png", None), ("warned.png", warning)):
        draw_curve(tmp_path / name, [row(1, 0.5)], "a title", text)
    plain, warned = (matplotlib.image.imread(tmp_path / name)[..., :3] for name in ("plain.png", "warned.png"))
    red = np.array([0xD6, 0x27, 0x28]) / 255  # matplotlib's tab:red, which the curve of the training loss has too
    above_title = [(np.abs(image[:40] - red) < 0.02).all(axis=-1).sum() for image in (plain, warned)]
    assert above_title[0] == 0
    assert above_title[1] > 50
