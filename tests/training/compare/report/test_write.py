"""The report of a study: tables, figures, and a page that tells what it must."""

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.training.compare.synthetic import controls, facts, failed, grid, null, run, runs, spends
from training.compare.answer.choosing import NO_EFFECT
from training.compare.report.ledger import did_not_choose
from training.compare.report.write import require_libraries, write_report

for library in ("scipy", "jinja2", "pyarrow"):
    pytest.importorskip(library, reason="needs the extra rebar-loaders[study]")

SECTIONS = ("answer", "verdicts", "accuracy", "differences", "whole", "visits", "cost", "runs", "settings", "repeat")
SMALL = {"augmentations": ("standard", "RICAP"), "budgets": (0.3, 1.0), "methods": ("uniform", "p-sgd"), "num_seeds": 2}


class Page(HTMLParser):
    """Ids, addresses that a browser would fetch, text, and whether all tags are closed."""

    VOID = ("meta", "br", "img", "hr", "link")

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.fetched, self.open, self.words = [], [], [], []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words)).strip().replace("\N{NO-BREAK SPACE}", " ")
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self._look(tag, dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self._look(tag, dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    def _look(self, tag, attrs):
        self.ids += [attrs["id"]] if "id" in attrs else []
        for name in ("src", "srcset", "href", "xlink:href", "data", "action"):
            if not attrs.get(name, "#").startswith(("#", "data:")):
                self.fetched.append(attrs[name])
        assert tag != "script"


def page_of(folder, outcomes, **changes) -> Page:
    write_report(folder, facts(outcomes, **changes), outcomes)
    text = (folder / "report.html").read_text("utf-8")
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    return Page(text)


def test_the_page_is_whole_and_needs_nothing_else(tmp_path):
    outcomes = grid(null, **SMALL) + controls(num_seeds=2)
    settings = "name: <b>miniature</b>\nmethods: [uniform]\n"
    page = page_of(tmp_path, outcomes, settings=settings, command="python -m training.compare miniature.yaml")
    assert [one for one in page.ids if one in SECTIONS] == [*SECTIONS]
    assert len(page.ids) == len(set(page.ids))
    assert page.fetched == []
    for wanted in ("name: <b>miniature</b>", "python -m training.compare miniature.yaml", "4.00", "a processor"):
        assert wanted in page.text
    assert f"{len(outcomes)} of {len(outcomes)} cells" in page.text
    for one in outcomes:
        assert one.cell in page.text


def test_it_writes_what_it_says_and_the_same_bytes_again(tmp_path):
    outcomes = grid(null, **SMALL)
    written = write_report(tmp_path / "a", facts(outcomes), outcomes)
    again = write_report(tmp_path / "b", facts(outcomes), outcomes[::-1])
    assert {path.name for path in written} == {path.name for path in (tmp_path / "a").rglob("*.*")}
    assert {path.suffix for path in written} == {".html", ".csv", ".parquet", ".png"}
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_tables_hold_every_run_in_flat_columns(tmp_path):
    from pyarrow import parquet

    outcomes = [*runs("uniform", 0.5), failed(run("p-sgd", 1))]
    write_report(tmp_path, facts(outcomes), outcomes)
    rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["accuracy"] for row in rows] == [*(one.accuracy for one in outcomes[:-1]), None]
    assert rows[0]["visits.cv"] == 0.11
    assert rows[0]["versions.torch"] == "2.13.0"
    assert rows[-1]["error"] == "the loss is not finite after 12 steps"
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        texts = [*csv.DictReader(file)]
    assert [row["cell"] for row in texts] == [one.cell for one in outcomes]
    assert [float(row["accuracy"]) for row in texts[:-1]] == [row["accuracy"] for row in rows[:-1]]
    assert texts[-1]["accuracy"] == ""


def test_columns_of_several_types_and_names_that_collide(tmp_path):
    from pyarrow import parquet

    summaries = [{"method": "p-sgd", "option": 1, "sizes": [16, 32]}, {"method": "scan", "option": "none", "sizes": []}]
    outcomes = [replace(run("p", seed), summary=summary) for seed, summary in enumerate(summaries)]
    write_report(tmp_path, facts(outcomes), outcomes)
    rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["method"] for row in rows] == ["p", "p"]
    assert [row["summary.method"] for row in rows] == ["p-sgd", "scan"]
    assert [row["option"] for row in rows] == ["1", "none"]
    assert [row["sizes"] for row in rows] == ["[16, 32]", "[]"]


def test_what_is_left_out_or_failed_or_did_not_choose_is_told(tmp_path):
    outcomes = [
        *runs("uniform", 0.5),
        *runs("uniform", 0.5, budget=1.0),
        *runs("p-sgd", 0.5, budget=1.0),
        *spends(runs("selective-backprop", 0.52), 1.4),
        *[failed(one) for one in runs("infobatch", 0.5)],
    ]
    text = page_of(tmp_path, outcomes).text
    assert "selective-backprop in 1 comparison (standard, budget 0.3): 1.40 times the FLOPs of uniform" in text
    assert "p-sgd, 5 runs: p-sgd draws all 4,000 samples in each epoch, so it cannot choose" in text
    assert text.count("failed: the loss is not finite after 12 steps") == 5
    assert "5 runs failed; they count as outcomes." in text


def test_a_set_up_that_could_not_have_shown_an_effect_says_so_first(tmp_path):
    outcomes = grid(null, **SMALL) + controls(0.0)
    text = page_of(tmp_path, outcomes).text
    first = text.index(NO_EFFECT)
    assert first < text.index("Whether choosing samples pays is undecided")
    assert text.startswith(
        f"synthetic {len(outcomes)} of {len(outcomes)} cells {NO_EFFECT}: in the positive control, no"
    )


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [run()],
        [failed(run())],
        [replace(run(), summary={})],
        runs("p-sgd", 0.5),
        runs("uniform", 0.5, augmentation="RICAP"),
        controls(num_seeds=1)[:3],
        runs("uniform", 0.5, budget=1.0) + runs("p-sgd", 0.5, num_seeds=1),
    ],
    ids=["none", "one", "failed", "silent", "no baseline", "one augmentation", "controls alone", "one seed"],
)
def test_any_part_of_a_grid_has_a_report(tmp_path, outcomes):
    page = page_of(tmp_path, outcomes, planned=360)
    assert [one for one in page.ids if one in SECTIONS] == [*SECTIONS]
    assert f"{len(outcomes)} of 360 cells" in page.text
    assert "supported" not in re.sub(r"The rules.*Accuracy against budget", "", page.text)


def test_figures_of_an_older_report_go(tmp_path):
    outcomes = runs("uniform", 0.5, 2) + runs("p-sgd", 0.5, 2)
    write_report(tmp_path, facts(outcomes), outcomes)
    assert (tmp_path / "figures" / "differences.png").exists()
    write_report(tmp_path, facts([]), [])
    assert not [*tmp_path.rglob("*.png")]


def test_labels_are_text_wherever_they_stand(tmp_path):
    label = 'p <i>"$x_1$" & 100 %</i>'
    outcomes = runs("uniform", 0.5, 2) + runs(label, 0.5, 2, augmentation="standard")
    page = page_of(tmp_path, outcomes)
    assert label in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_missing_library_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pyarrow" else object())
    with pytest.raises(ImportError, match=r"the report of a study needs pyarrow, not installed: pip install pyarrow"):
        require_libraries()


def test_runs_that_did_not_choose_for_one_reason_are_one_sentence():
    def silent(seed: int, tau: float):
        one = run("p-sgd", seed)
        sentence = f"the weights of p-sgd were nearly equal throughout (tau at most {tau})"
        return replace(one, summary={**one.summary, "did_not_choose": sentence})

    assert did_not_choose([silent(0, 1.0042), silent(1, 1.005)]) == [
        "p-sgd, 2 runs, the first of them: the weights of p-sgd were nearly equal throughout (tau at most 1.0042)"
    ]


def test_the_accuracy_is_called_after_what_the_runs_were_tested_on(tmp_path):
    outcomes = grid(null, **SMALL)
    assert "Test accuracy of the last epoch" in page_of(tmp_path / "test", outcomes).text
    held_out = [replace(one, summary={**one.summary, "validation_accuracy": one.accuracy}) for one in outcomes]
    page = page_of(tmp_path / "validation", held_out)
    assert "Validation accuracy of the last epoch" in page.text
    assert "test accuracy" not in page.text.lower()
    mixed = page_of(tmp_path / "mixed", [*outcomes[1:], held_out[0]])
    assert "Accuracy of the last epoch" in mixed.text
