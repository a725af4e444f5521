"""The command as a user runs it: real pilots on drawn shapes, in real processes."""

import json
import shutil
from pathlib import Path

import pytest

from training.advise import pilots
from training.advise.command import main
from training.advise.pilots import AUGMENTATIONS
from training.report import folder as files

OWN = f"{Path(__file__).parents[3] / 'examples/own_model.py'}:plain_network"
SETTINGS = [
    "--model=resnet8", "--width=0.25", "--epochs=4", "--batch_size=10", "--optimizer=sgd", "--lr=0.05", "--ema=0",
    "--size_schedule", "[]", "--backend=reference",
]  # fmt: skip


def advise(shapes, folder, *more) -> int:
    return main([f"--data={shapes}", "--budget=1", "--validation=0.2", f"--out={folder}", *SETTINGS, *more])


@pytest.mark.slow
def test_advice_is_given_kept_and_not_made_again(shapes, tmp_path, capsys, monkeypatch):
    """One seed, a network of one's own, and whole epochs, from which nothing is chosen: five arms of four pilots."""
    pytest.importorskip("jinja2", reason="needs the extra rebar-loaders[study]")
    monkeypatch.setattr(pilots, "SEEDS", (1,))
    monkeypatch.setattr(pilots, "CALIBRATION_SECONDS", 1.0)
    folder, own = tmp_path / "advice", f"--model={OWN}"
    assert advise(shapes, folder, own, "--minutes=0.0001") == 2
    assert "is too short: the fewest pilots that tell anything take about" in capsys.readouterr().err
    assert advise(shapes, folder, own) == 0
    told = capsys.readouterr().out
    advice = json.loads((folder / "advice.json").read_text())
    assert all(sentence in told for sentence in advice["sentences"])
    assert (folder / "advice.png").stat().st_size > 10_000
    assert (folder / "look" / "samples.html").exists()
    assert set(advice["arms"]) == {f"{name} with scan" for name in AUGMENTATIONS}
    for arm in advice["arms"].values():
        assert arm["visits"] == pytest.approx([0.25, 0.5, 1.0, 2.0])
        assert arm["expected"]["low"] <= arm["expected"]["accuracy"] <= arm["expected"]["high"]
    assert advice["question"]["visits"] == 4
    summaries = [files.read_summary(path) for path in (folder / "pilots" / "runs").iterdir()]
    assert all("validation_accuracy" in summary and "test_accuracy" not in summary for summary in summaries)
    done = {path.name: path.stat().st_mtime_ns for path in (folder / "pilots" / "done").iterdir()}
    assert advise(shapes, folder, own) == 0
    assert json.loads((folder / "advice.json").read_text()) == advice
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "pilots" / "done").iterdir()} == done
    assert advise(shapes, folder, own, "--lr=0.1") == 2
    assert "holds the advice for another question (differs in settings)" in capsys.readouterr().err


def test_a_wrong_question_is_told_in_a_sentence(shapes, tmp_path, capsys):
    folder = tmp_path / "advice"
    for words, told in (
        (["--modell=resnet8"], "unknown setting 'modell': did you mean 'model'?"),
        ([f"--model={OWN}", "--batch_size=400"], "steps, of which the smallest pilot would have a sixteenth"),
        (["--batch_size=0"], "4 epochs at a budget of 1 are 64 steps, of which the smallest pilot would have a sixt"),
        (["--validation=0.0001"], "holds out none"),
    ):
        assert advise(shapes, folder, *words) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert not folder.exists()
    assert main(["--data", str(tmp_path / "nothing"), "--budget=0.3", f"--out={folder}"]) == 2
    shutil.rmtree(folder, ignore_errors=True)
