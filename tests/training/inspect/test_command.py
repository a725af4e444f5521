"""`python -m training.inspect`: a page and a table of what a run knows about its data."""

import base64
import dataclasses
import importlib.util
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from loaders.backends.reference import decode
from loaders.formats.open import open_dataset
from tests.conftest import photographs
from training import checkpoint
from training.inspect.command import main
from training.inspect.page import _accuracy
from training.report import history
from training.report.folder import read_summary
from training.report.past_run import read_run
from training.run import main as main_run


@pytest.fixture(scope="module")
def looked(small, tmp_path_factory):
    """The folder of the page and the table."""
    out = tmp_path_factory.mktemp("looked")
    assert main([str(small), f"--out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def scores(looked):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra rebar-loaders[study]")
    table = parquet.read_table(looked / "scores.parquet")
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.fixture(scope="module")
def page(looked):
    return (looked / "samples.html").read_text(encoding="utf-8")


def test_the_table_says_what_the_run_recorded(small, scores):
    content = checkpoint.load(small / "checkpoint.pt")
    labels = open_dataset(small / "data" / "train.beton").labels
    assert np.array_equal(scores["id"], np.arange(len(labels)))
    assert np.array_equal(scores["label"], labels)
    assert np.array_equal(scores["visits"], content["table"]["total"][:, 0].numpy())
    visited = scores["visits"] > 0
    assert np.allclose(scores["mean_error"][visited], content["table"]["total"][visited, 1].numpy())
    assert (scores["epochs"] == scores["visits"]).all(), "one visit an epoch at most"
    codes = history.read_history(small, 3, len(labels))
    assert 0 < visited.sum() < len(labels)
    assert all(np.isnan(scores[name][~visited]).all() for name in ("mean_error", "error", "loss", "el2n"))
    mean = np.nanmean(history.errors(codes[:, visited]), axis=0)
    assert np.abs(mean - scores["mean_error"][visited]).max() < 0.5 / 254 + 1e-4
    last = codes[-1] > 0
    assert np.abs(history.errors(codes[-1, last]) - scores["error"][last]).max() < 0.5 / 254 + 1e-4
    right = scores["guess"] == scores["label"]
    assert np.array_equal(right, scores["p_label"] >= scores["p_rival"])
    assert (scores["rival"] != scores["label"]).all()
    assert scores["duplicate_of"][[0, -1]].tolist() == [0, 0]


def test_the_guess_is_the_evaluated_network_s(small, looked, tmp_path):
    """Told of the test set in place of the training set, it is as often right as the run's summary says."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra rebar-loaders[study]")
    swapped, run = tmp_path / "data", shutil.copytree(small, tmp_path / "run")
    shutil.copytree(small / "data", swapped)
    manifest = json.loads((swapped / "manifest.json").read_text())
    manifest["splits"]["train"] = manifest["splits"]["test"]
    manifest["splits"]["train"]["files"] = {"train.beton": manifest["splits"]["test"]["files"]["test.beton"]}
    manifest["splits"]["test"] = json.loads((swapped / "manifest.json").read_text())["splits"]["test"]
    (swapped / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(swapped / "test.beton", swapped / "train.beton")
    num, split = manifest["splits"]["train"]["num_samples"], manifest["splits"]["train"]
    content = checkpoint.load(run / "checkpoint.pt")
    content["data"] = f"{split['pixels_sha256']}-{split['labels_sha256']}"
    content["table"] = {name: value[:num] for name, value in content["table"].items()}
    (run / "checkpoint.pt").write_bytes(checkpoint.encode(content))
    assert main([str(run), f"--data={swapped}", f"--out={tmp_path}"]) == 0
    table = parquet.read_table(tmp_path / "scores.parquet")
    accuracy = (table["guess"].to_numpy() == table["label"].to_numpy()).mean()
    assert accuracy == pytest.approx(read_summary(small)["test_accuracy"])


@pytest.mark.parametrize("split", ["test", "val", "validation"])
def test_the_page_names_what_the_run_was_tested_on(small, tmp_path, split):
    run = read_run(small)
    accuracy = run.summary["test_accuracy"]
    summary = {key: value for key, value in run.summary.items() if not key.startswith("test_")}
    run = dataclasses.replace(run, summary={**summary, f"{split}_accuracy": accuracy})
    assert _accuracy(run) == (split, accuracy)
    assert _accuracy(dataclasses.replace(run, summary=None)) is None


def test_the_page_needs_nothing_but_itself(page):
    assert not re.findall(r"""(?:src|href)=["']?(?!#|data:)[^"'\s>]+""", page)
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_names_are_text_and_no_markup(page):
    assert "<b>bar</b>" not in page
    assert "&lt;b&gt;bar&lt;/b&gt;" in page


def test_the_page_is_well_formed(page):
    open_tags, void = [], {"meta", "img", "link", "br"}

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in void:
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag, self.getpos()

    Parser().feed(page)
    assert open_tags == []


def test_images_are_shown_to_the_pixel(small, page):
    dataset = open_dataset(small / "data" / "train.beton")
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]*, image (\d+)"', page)
    assert len(shown) > 50
    for text, sample in shown[:5]:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        assert np.array_equal(pixels, decode(dataset, int(sample)))


def test_each_image_carries_its_label_guess_and_history(small, page):
    details = [dict(json.loads(text.replace("&#39;", "'"))) for text in re.findall(r"data-details='([^']*)'", page)]
    assert all({"id", "label", "visits", "forgotten"} <= each.keys() for each in details)
    assert all(("guess" in each) != ("next likeliest" in each) for each in details)
    visited = [each for each in details if each["visits"] != "0"]
    assert all({"mean error", "latest loss", "EL2N"} <= each.keys() for each in visited)
    assert page.count('class="line" d="M') == len(visited) > 50
    assert page.count("never visited</small>") == len(details) - len(visited)


def test_the_page_says_what_was_not_visited(page, scores):
    assert f"{(scores['visits'] == 0).sum()} images were never visited" in page


def test_without_pyarrow_the_table_is_a_csv(small, scores, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    assert main([str(small), f"--out={tmp_path}", "--images=3"]) == 0
    assert "pyarrow is not installed, so the table is a CSV" in capsys.readouterr().out
    table = np.genfromtxt(tmp_path / "scores.csv", delimiter=",", names=True)
    assert set(table.dtype.names) == scores.keys()
    for name, values in scores.items():
        assert np.array_equal(table[name].astype(values.dtype), values, equal_nan=values.dtype.kind == "f"), name


def test_a_second_look_gives_the_same_bytes(small, looked, tmp_path):
    assert main([str(small), f"--out={tmp_path}"]) == 0
    for name in ("samples.html", "scores.parquet"):
        if (looked / name).exists():
            assert (tmp_path / name).read_bytes() == (looked / name).read_bytes()


def test_a_run_that_left_no_history_is_looked_at_without(small, tmp_path, capsys):
    run = shutil.copytree(small, tmp_path / "run")
    (run / history.FILE).unlink()
    assert main([str(run), "--images=2"]) == 0
    assert "The run left no history.u8" in capsys.readouterr().out
    assert (run / "samples.html").exists()


def test_a_run_that_is_not_finished_says_so(small, tmp_path):
    run = shutil.copytree(small, tmp_path / "run")
    (run / "summary.json").unlink()
    assert main([str(run), "--images=2"]) == 0
    assert "The run is not finished" in (run / "samples.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere holds no checkpoint.pt, from which the network and the scores of a run are read"),
        (["RUN", "--images=0"], "images must be at least 1, got 0"),
        (["RUN", "--data=nowhere"], "nowhere holds no data set"),
        (["RUN", "--data=OTHER"], "the run was made on other data than"),
        (["RUN", "--device=tpu"], "unknown device 'tpu'"),
        (["RUN", "--backend=tape"], "unknown backend 'tape'"),
        ([], "run"),
    ],
)
def test_a_mistake_is_one_sentence(small, shapes, tmp_path, capsys, arguments, sentence):
    names = {"RUN": str(small), "--data=OTHER": f"--data={shapes}"}
    assert main([names.get(each, each) for each in arguments] + [f"--out={tmp_path}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert not [*tmp_path.iterdir()]


def test_no_code_that_a_checkpoint_names_is_called(small, tmp_path):
    """A policy of one's own is a name in the settings, and inspecting needs no policy."""
    run, trap = shutil.copytree(small, tmp_path / "run"), tmp_path / "trap.py"
    trap.write_text("raise SystemExit('this file must not be run')")
    content = checkpoint.load(run / "checkpoint.pt")
    content["config"]["method"] = f"{trap}:policy"
    (run / "checkpoint.pt").write_bytes(checkpoint.encode(content))
    assert main([str(run), "--images=1"]) == 0


def test_a_checkpoint_that_lacks_a_part_is_one_sentence(small, tmp_path, capsys):
    run = shutil.copytree(small, tmp_path / "run")
    content = checkpoint.load(run / "checkpoint.pt")
    del content["model"]["head.weight"]
    (run / "checkpoint.pt").write_bytes(checkpoint.encode(content))
    assert main([str(run)]) == 2
    err = capsys.readouterr().err
    assert "checkpoint.pt does not fit this program (Error(s) in loading state_dict for ResNet: Missing key(s)" in err
    assert err.endswith("): use the Rebar that made it\n")
    assert err.count("\n") == 1


@pytest.mark.ffcv
def test_jpeg_images_of_many_sizes(quick_args, tmp_path):
    """A copy at two thirds of the size is a near duplicate, and images are shown whole."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra rebar-loaders[study]")
    rng = np.random.default_rng(0)
    for number in range(40):
        height, width = rng.integers(60, 120, 2)
        image = Image.fromarray(photographs(1, height, width, number)[0])
        path = tmp_path / "source" / ("train" if number < 30 else "test") / ("a", "b")[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
        if number == 7:
            image.resize((2 * width // 3, 2 * height // 3)).save(path.with_name("07 small.jpg"), quality=70)
    convert_folder(tmp_path / "source", tmp_path / "images")
    run = tmp_path / "run"
    assert main_run(quick_args(data=tmp_path / "images", out=run, image_size=24, batch_size=10, width=0.25)) == 0
    assert main([str(run), "--backend=reference"]) == 0
    group = parquet.read_table(run / "scores.parquet")["duplicate_of"].to_numpy()
    assert (np.unique(group[group >= 0]).size, (group >= 0).sum()) == (1, 2)
    assert (run / "samples.html").read_text().count("data:image/jpeg;base64,") >= 15
