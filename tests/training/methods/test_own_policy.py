"""A policy of your own, FILE.py:FUNCTION: it decides, and what is wrong with the file is one sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.methods.toy import made, snapshot
from training.arguments import make_config
from training.report.folder import read_rows, read_summary
from training.run import main

FILE = Path(__file__).parents[3] / "examples/capped_loss.py"
OWN = f"{FILE}:capped_loss"


def test_it_decides():
    method, known = made(OWN), snapshot(200)
    cap = np.quantile(known.loss, 0.95)
    weights = np.minimum(known.loss, cap)
    assert method.weights(1, known) == pytest.approx(weights + weights.mean())
    sharp = made(OWN, smoothing=0.25).weights(1, known)
    assert sharp / sharp.mean() == pytest.approx(0.25 + 0.75 * (weights + weights.mean()) / (2 * weights.mean()))


def test_it_warms_up_uniformly():
    method, uniform = made(OWN, warmup_epochs=2), made("uniform")
    same = [np.array_equal(method.plan(epoch, snapshot(200)).ids, uniform.plan(epoch).ids) for epoch in range(4)]
    assert same == [True, True, False, False]


def test_a_run_finds_it_again(quick_args, tmp_path, capsys):
    file = shutil.copy(FILE, tmp_path / "mine.py")
    method = f"{file}:capped_loss"
    assert main(quick_args(out=tmp_path / "run", method=method, epochs=2, eval_every=0)) == 0
    assert read_summary(tmp_path / "run")["method"] == method
    (tmp_path / "run" / "summary.json").unlink()
    capsys.readouterr()
    Path(file).write_text("raise SystemExit('run unasked')\n" + FILE.read_text())
    assert main(["--resume", str(tmp_path / "run")]) == 2
    command = f"python -m training.run --resume {tmp_path / 'run'} --method {method}"
    assert capsys.readouterr().err.endswith(f"as in: {command}\n")
    shutil.copy(FILE, file)
    assert main(command.split()[3:]) == 0
    assert read_summary(tmp_path / "run")["samples"] == 600
    Path(file).unlink()
    assert main(command.split()[3:]) == 2
    assert f"there is no file {file}" in capsys.readouterr().err
    assert make_config({"data": "data/shapes", "method": method}).run_name == "shapes-capped_loss-b1-s0"


BEHIND_AN_EPOCH = """
def weights(scores):
    if scores.visits.any() and not scores.visits.all():  # the trial before a run has visited all
        return {}
    return scores.loss + 1
"""


def test_a_policy_that_fails_ends_the_run_behind_row_and_checkpoint(quick_args, tmp_path, capsys):
    file, out = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(BEHIND_AN_EPOCH.format("scores.loss * float('nan')"))
    arguments = [*quick_args(out=out, epochs=2, eval_every=0), f"--method={file}:weights"]
    assert main(arguments) == 2
    assert "weights are negative, infinite or NaN" in capsys.readouterr().err
    (row,) = read_rows(out)
    assert (row["epoch"], row["weights"]) == (1, None)
    file.write_text(BEHIND_AN_EPOCH.format("scores.loss + 0.5"))
    assert main([*arguments, "--resume"]) == 0
    assert [row["epoch"] for row in read_rows(out)] == [1, 2]


def test_a_policy_whose_weights_nobody_needs_any_more_ends_no_run(quick_args, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(BEHIND_AN_EPOCH.format("1 / 0"))
    assert main([*quick_args(out=tmp_path / "run", epochs=1), f"--method={file}:weights"]) == 0
    assert read_rows(tmp_path / "run")[0]["weights"] is None
    assert "drew uniformly in all its epochs" in read_summary(tmp_path / "run")["did_not_choose"]


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (None, "f", "there is no file"),
        ("def f(:", "f", "line 1: invalid syntax"),
        ("g = 3", "f", "has no function 'f'"),
        ("def f(s): return s.loss[1:]", "f", "expected one weight for each of 200 samples"),
        ("def f(s): return s.loss - 2", "f", "weights are negative"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text, name, sentence):
    if text is not None:
        (tmp_path / "a.py").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        made(f"{tmp_path / 'a.py'}:{name}")
