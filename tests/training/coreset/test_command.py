"""`python -m training.coreset` end to end, and runs on what it chose."""

import json
from pathlib import Path

import numpy as np
import pytest

from loaders.formats.open import open_dataset
from training import checkpoint
from training.coreset.command import main
from training.coreset.file import read_coreset
from training.coreset.options import DEFAULTS, Options
from training.coreset.proxy import ask, train_proxy
from training.coreset.scores import loss
from training.data.manifest import data_digest, open_manifest
from training.data.validation import held_out
from training.machine.commands import command
from training.report.folder import read_summary
from training.run import main as run_main

EXAMPLE = Path(__file__).parents[3] / "examples/own_model.py"
TINY = {"model": "resnet8", "width": 0.125, "batch_size": 100, "epochs": 1, "seeds": 1, "backend": "reference"}


@pytest.fixture(scope="module")
def choose(shapes):
    """A function: method and settings -> the core-set of the tiny `shapes`, and its file."""

    def chosen(method: str, path, *flags: str, **changes):
        settings = {"data": shapes, "method": method, "out": path, **TINY, **changes}
        if method == "random":
            settings = {name: value for name, value in settings.items() if name not in ("epochs", "seeds")}
        assert main([*flags, *(f"--{name}={value}" for name, value in settings.items())]) == 0
        return read_coreset(str(path), data_digest(open_manifest(str(shapes))), 600)

    return chosen


@pytest.fixture(scope="module")
def labels(shapes):
    return open_dataset(shapes / "train.beton").labels


@pytest.fixture(scope="module")
def coresets(choose, tmp_path_factory):
    """method -> a core-set of 30 %, its manifest and its file."""
    folder, found = tmp_path_factory.mktemp("coresets"), {}
    for method in DEFAULTS:
        changes = {"forgetting": {"epochs": 3}, "el2n": {"seeds": 2}}.get(method, {})
        coreset = choose(method, folder / f"{method}.npz", fraction=0.3, **changes)
        found[method] = coreset, json.loads((folder / f"{method}.json").read_text()), folder / f"{method}.npz"
    return found


@pytest.mark.parametrize("method", DEFAULTS)
def test_every_method_chooses_its_fraction_and_tells_the_cost(coresets, labels, method):
    coreset, manifest, _ = coresets[method]
    trained, asked = {"forgetting": (3, 0), "el2n": (2, 2), "random": (0, 0)}.get(method, (1, 1))
    assert len(coreset.ids) == manifest["num_ids"] == 180
    assert [*manifest["ids_per_class"].values()] == np.bincount(labels[coreset.ids], minlength=10).tolist()
    cost = manifest["cost"]
    passes = ((trained + asked) * 600, trained * 600) if method != "rho" else (400 + 180, 400)
    assert (cost["forward_samples"], cost["backward_samples"]) == passes
    if method == "random":
        assert cost["flops"] == 0
        return
    # A backward pass is about two forward passes, less the first layer's gradient by the images.
    assert 1 < cost["backward_flops"] / cost["backward_samples"] / (cost["forward_flops"] / cost["forward_samples"]) < 2
    assert cost["flops"] == cost["forward_flops"] + cost["backward_flops"] > 1e9
    assert cost["seconds"] > 0


def test_methods_choose_differently(coresets):
    sets = [{*coreset.ids.tolist()} for coreset, _, _ in coresets.values()]
    assert all(a != b for number, a in enumerate(sets) for b in sets[:number])


def test_only_craig_weighs(coresets):
    assert [method for method, (coreset, _, _) in coresets.items() if coreset.weights is not None] == ["craig"]
    assert coresets["craig"][0].weights.mean() == pytest.approx(1)


def test_craig_and_balanced_keep_the_classes(coresets, choose, labels, tmp_path):
    sizes = np.bincount(labels, minlength=10)
    balanced = choose("random", tmp_path / "a.npz", "--balanced", fraction=0.3)
    for coreset in (coresets["craig"][0], balanced):
        assert np.abs(np.bincount(labels[coreset.ids], minlength=10) - 0.3 * sizes).max() < 1


def test_chosen_again_from_nothing_it_has_the_same_bytes(coresets, choose, tmp_path):
    _, manifest, path = coresets["craig"]
    choose("craig", tmp_path / "again.npz", fraction=0.3)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    again = json.loads((tmp_path / "again.json").read_text())
    for values in (again, manifest):
        values["cost"].pop("seconds", None)
    assert again == manifest


def test_a_second_call_finds_its_work_done(coresets, choose, capsys):
    path = coresets["el2n"][2]
    before = [file.read_bytes() for file in (path, path.with_suffix(".json"))]
    choose("el2n", path, fraction=0.3, seeds=2)
    assert "is already there" in capsys.readouterr().out
    assert [file.read_bytes() for file in (path, path.with_suffix(".json"))] == before


def test_the_offset_leaves_out_the_hardest(coresets, choose, tmp_path):
    plain = coresets["margin"][0].ids
    later = choose("margin", tmp_path / "a.npz", fraction=0.3, offset=0.05).ids
    assert len(np.setdiff1d(plain, later)) == 30
    assert len(later) == 180


def test_the_seed_decides(coresets, choose, tmp_path):
    assert not np.array_equal(choose("margin", tmp_path / "a.npz", fraction=0.3, seed=1).ids, coresets["margin"][0].ids)


def test_the_batch_size_may_be_left_to_the_data(choose, tmp_path):
    """A twentieth of 600 samples, as in a run."""
    assert len(choose("forgetting", tmp_path / "a.npz", batch_size=0).ids) == 180


def test_a_network_of_ones_own_is_asked(choose, tmp_path):
    coreset = choose("grand", tmp_path / "a.npz", model=f"{EXAMPLE}:plain_network")
    assert len(coreset.ids) == 180
    assert coreset.cost.forward_samples == 2 * 600


NO_LINEAR = """
from torch import nn

def network(num_classes, width):
    return nn.Sequential(nn.Conv2d(3, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def test_a_network_that_cannot_be_asked_is_refused_before_it_is_trained(choose, shapes, tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(NO_LINEAR)
    own, out = f"{tmp_path / 'mine.py'}:network", tmp_path / "a.npz"
    assert len(choose("forgetting", out, model=own).ids) == 180, "its own training is all that this method looks at"
    out.unlink()
    monkeypatch.setattr("training.coreset.proxy.train_epoch", None)
    capsys.readouterr()
    assert main([f"--data={shapes}", "--method=grand", f"--model={own}", f"--out={out}"]) == 2
    assert capsys.readouterr().err.startswith("error: the network has no nn.Linear, of whose input its features are")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "method"),
        (["--method=hardest"], "Got value: hardest"),
        (["--method=el2n", "--fraction=0"], "fraction must be above 0 and at most 1, got 0"),
        (["--method=el2n", "--fraction=1.2"], "fraction must be above 0 and at most 1, got 1.2"),
        (["--method=el2n", "--fraction=0.001"], "a fraction of 0.001 of 600 samples is none: raise the fraction"),
        (["--method=el2n", "--offset=0.8"], "offset must be from 0 to 1 - fraction, got 0.8 beside a fraction of 0.3"),
        (["--method=craig", "--offset=0.1"], "craig ranks no samples"),
        (["--method=el2n", "--seeds=0"], "seeds must be at least 1, got 0"),
        (["--method=el2n", "--epochs=0"], "epochs must be at least 1, got 0"),
        (["--method=random", "--seeds=2"], "random trains no network"),
        (["--method=el2n", "--model=vgg"], "model got 'vgg'"),
        (["--method=el2n", "--batch_size=601"], "less than one batch of 601"),
        (["--method=el2n", "--data=nowhere"], "nowhere holds no data set"),
        (["--method=el2n", "--fractions=0.3"], "--fractions"),
        (["--method=el2n", "--out=mine.json"], "out is the name of a file that ends in .npz, got mine.json"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(shapes, tmp_path, capsys, arguments, sentence):
    assert main([f"--data={shapes}", f"--out={tmp_path / 'a.npz'}", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert not [*tmp_path.iterdir()]


def test_another_core_set_is_not_overwritten(coresets, shapes, capsys):
    path = coresets["random"][2]
    before = path.read_bytes()
    assert main([f"--data={shapes}", f"--out={path}", "--method=random", "--fraction=0.4", "--batch_size=50"]) == 2
    assert "fraction was 0.3 and is now 0.4" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_rho_keeps_the_losses_of_a_network_that_never_saw_the_samples(coresets, shapes, labels):
    coreset, _, path = coresets["rho"]
    assert np.array_equal(coreset.ids, held_out(labels, 0.3))
    proxy, _ = train_proxy(Options(method="rho", data=str(shapes), **{k: v for k, v in TINY.items()}).proxy(0))
    assert np.array_equal(proxy.run.data.held_out, coreset.ids)
    assert proxy.run.table.snapshot().visits[coreset.ids].sum() == 0
    losses, _ = ask(proxy, loss)
    assert coreset.losses == pytest.approx(losses[coreset.ids], rel=1e-4)
    assert (read_coreset(str(path), data_digest(open_manifest(str(shapes))), 600).losses == coreset.losses).all()


def test_a_run_of_rho_loss_trains_on_what_was_held_out_and_pays_for_the_reference(
    coresets, quick_args, tmp_path, capsys
):
    coreset, manifest, path = coresets["rho"]
    out = tmp_path / "run"
    arguments = quick_args(method="rho-loss", coreset=path, keep=0.3, budget=0.3, epochs=2, eval_every=0, out=out)
    assert run_main(arguments) == 0
    summary = read_summary(out)
    assert summary["coreset_flops"] == manifest["cost"]["flops"]
    assert summary["samples"] == 2 * 150
    seen = checkpoint.load(out / "checkpoint.pt")["table"]["total"][:, 0].numpy()
    assert not np.delete(seen, coreset.ids).any()
    assert run_main(quick_args(method="rho-loss", keep=0.3, out=tmp_path / "other")) == 2
    assert f"make them with `{command('coreset', '--method', 'rho')}`" in capsys.readouterr().err


def test_rho_leaves_something_to_train_its_network_on(shapes, tmp_path, capsys):
    assert main([f"--data={shapes}", "--method=rho", "--fraction=1", f"--out={tmp_path / 'a.npz'}"]) == 2
    assert "rho trains its network on the rest of the training set" in capsys.readouterr().err
