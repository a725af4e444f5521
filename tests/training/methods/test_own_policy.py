"""A policy of your own, FILE.py:FUNCTION: it decides, and what is wrong with the file is one sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from loaders.order.rng import POLICY, fold_in
from tests.training.methods.toy import NUM, made, make_run, snapshot, train
from training import checkpoint
from training.arguments import make_config
from training.budget import make_budget
from training.machine.commands import command
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
    again = ["--resume", str(tmp_path / "run"), "--method", method]
    assert capsys.readouterr().err.endswith(f"as in: {command('train', *again)}\n")
    shutil.copy(FILE, file)
    assert main(again) == 0
    assert read_summary(tmp_path / "run")["samples"] == 600
    Path(file).unlink()
    assert main(again) == 2
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


def own(tmp_path: Path, text: str) -> str:
    """A file of one's own with a function f, as a method."""
    (tmp_path / "a.py").write_text(f"import numpy as np\n{text}\n")
    return f"{tmp_path / 'a.py'}:f"


def test_it_is_told_epoch_progress_and_a_key_where_it_has_a_parameter_of_that_name(tmp_path):
    text = "def f(s, epoch, *, progress, key=0): return np.arange(len(s.loss)) % 7 + epoch + progress + key % 1000"
    method = made(own(tmp_path, text), seed=4)
    for epoch, progress in ((0, 0.0), (3, 0.25)):
        key = fold_in(4, POLICY, epoch) % 1000
        wanted = np.arange(200) % 7 + epoch + progress + key
        assert method.weights(epoch, snapshot(200), progress) == pytest.approx(wanted)
    assert fold_in(4, POLICY, 0) != fold_in(4, POLICY, 1)


def test_it_is_told_what_was_known_the_epoch_before_also_when_it_is_resumed(tmp_path):
    text = """def f(s, before):
    return np.ones(len(s.loss)) if before is None else 0.01 + np.abs(s.loss - before.loss)"""
    method, plans = own(tmp_path, text), []
    for stops in (False, True):
        run = make_run(method, lr=0.3, fraction=0.4)
        plans.append([])
        for _ in range(5):
            if stops:
                state = checkpoint.state_dict(run)
                run = make_run(method, lr=0.3, fraction=0.4)
                checkpoint.restore(state, run)
            train(run)
            plans[-1].append(run.method.latest.loss)
        plans[-1].append(run.method.plan(5, run.table.snapshot(), 0.5).ids)
        assert not np.array_equal(run.method.latest.loss, run.method.before.loss)
    assert all(np.array_equal(*pair) for pair in zip(*plans, strict=True))
    known, later = snapshot(200), snapshot(200, seed=1)
    subset = np.arange(0, 200, 2)
    chooser = made(method, subset=subset)
    chooser.plan(0, known)
    assert chooser.weights(1, later) == pytest.approx(0.01 + np.abs(later.loss - known.loss)[subset])
    assert chooser.weights(1, later) == pytest.approx(0.01 + np.abs(later.loss - known.loss)[subset]), "asked again"


def test_what_it_is_told_goes_with_smoothing_and_warm_up(tmp_path):
    method = own(tmp_path, "def f(s, epoch): return 1.0 + (np.arange(len(s.loss)) == epoch)")
    weights = made(method, smoothing=0.5, warmup_epochs=2).weights(5, snapshot(200))
    assert weights.argmax() == 5
    assert weights.max() == pytest.approx(0.5 + 0.5 * 2 / (201 / 200))
    plans = [made(name, warmup_epochs=2).plan(1, snapshot(200)).ids for name in (method, "loss")]
    assert np.array_equal(*plans)


@pytest.mark.parametrize(
    ("line", "name"),
    [("np.random.rand(200)", "numpy.random"), ("random.random() + s.visits", "random"), ("torch.rand(200)", "torch")],
)
def test_it_is_told_when_it_draws_from_a_global_generator(tmp_path, line, name):
    method = own(tmp_path, f"import random, torch\ndef f(s): return np.asarray({line})")
    with pytest.raises(
        ValueError, match=rf"draws from the global generator of {name}, .* np.random.default_rng\(key\)"
    ):
        made(method)
    keyed = own(tmp_path, "def f(s, key): return np.random.default_rng(key).random(len(s.loss))")
    first, again = (made(keyed).plan(2, snapshot(200)).ids for _ in range(2))
    assert np.array_equal(first, again)


def test_it_may_decide_how_many_samples_an_epoch_draws(tmp_path):
    text = """from loaders import Preference
def f(s, epoch):
    if not s.visits.any():
        return None
    hard = s.loss > 0.5
    return Preference(hard.astype(float), int(hard.sum()), None if epoch % 2 else np.full(len(hard), 2.0))"""
    method, known = made(own(tmp_path, text)), snapshot(200)
    hard = (known.loss > 0.5).sum()
    assert len(method.plan(0)) == 200, "all, while nothing is known"
    for epoch in (1, 2):
        plan = method.plan(epoch, known)
        assert len(plan) == hard // 10 * 10
        assert (known.loss[plan.ids] > 0.5).all()
        assert plan.weights is None if epoch % 2 else (plan.weights == 2).all()
    assert method.own_length
    run = make_run(own(tmp_path, text), lr=0.1, fraction=0.4, epochs=3)
    run.budget = make_budget(run.config, NUM, run.flops, False, run.method.even_epochs)
    while not run.is_over:
        train(run)
    assert run.ledger.samples == 3 * 480
    with pytest.raises(ValueError, match=r"sets its own number of draws, .* leave --smoothing out"):
        made(own(tmp_path, text), smoothing=0.5)


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
