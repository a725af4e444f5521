"""`benchmarks.gpu` on a CPU: parts that fail or take too long, what is kept, and the table. Nothing is measured."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.gpu import batches, in_turn, paper
from benchmarks.gpu.in_turn import earlier, measure_all, measured
from benchmarks.gpu.paper import paper_rows
from convert.shapes import convert_shapes

WRITES = "import json, sys; open(sys.argv[1], 'w').write(json.dumps({'a': {'images_per_s': 1234567.0}})); "
WHERE = {"gpu": "a card", "driver": "1", "cuda": "2", "versions": {"torch": "3"}}


def program(code: str) -> list[str]:
    return [sys.executable, "-c", WRITES + code]


def test_a_part_that_ends_well(tmp_path):
    result = measured([*program(""), str(tmp_path / "x.json")], tmp_path / "x.json", 60)
    assert result["rows"] == {"a": {"images_per_s": 1234567.0}}
    assert "failed" not in result


def test_a_part_that_fails_says_why_and_keeps_what_it_had(tmp_path):
    result = measured(
        [*program("raise ValueError('no such kernel')"), str(tmp_path / "x.json")], tmp_path / "x.json", 60
    )
    assert result["rows"] == {"a": {"images_per_s": 1234567.0}}
    assert result["failed"] == "ValueError: no such kernel"


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(in_turn, "GRACE", 0.2)
    code = (
        "import os, signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "other = subprocess.Popen(['sleep', '600']); "
        "open(sys.argv[1] + '.pid', 'w').write(str(other.pid)); time.sleep(600)"
    )
    start = time.monotonic()
    result = measured([*program(code), str(tmp_path / "x.json")], tmp_path / "x.json", 8)
    assert time.monotonic() - start < 60
    assert result["failed"] == "stopped after 8 s"
    assert result["rows"] == {"a": {"images_per_s": 1234567.0}}
    other = int((tmp_path / "x.json.pid").read_text())
    for _ in range(100):
        status = Path(f"/proc/{other}/status")
        if not status.exists() or "\nState:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail("a process is left behind")


def test_each_part_is_in_the_file_as_soon_as_it_is_there(tmp_path):
    """The next one goes on after one that fails, with a fraction of the time that is left."""
    path, result = tmp_path / "gpu.json", {"environment": WHERE, "parts": {"paper": {"rows": {}, "seconds": 1.0}}}
    look = f"seen = json.load(open({str(path)!r}))['parts']; open({str(path)!r} + '.seen', 'w').write(' '.join(seen))"
    commands = {"tests": program("sys.exit('a fault')"), "batches": program(look)}
    assert not measure_all(commands, 100, result, path)
    assert (tmp_path / "gpu.json.seen").read_text() == "paper tests"
    parts = json.loads(path.read_text())["parts"]
    assert list(parts) == ["paper", "tests", "batches"]
    assert parts["tests"]["failed"] == "a fault"
    assert measure_all({"batches": program("")}, 100, result, path)


def test_a_part_is_told_its_limit(tmp_path):
    tell = "open(sys.argv[1], 'w').write(json.dumps({'told': sys.argv[2:]}))"
    result = {"environment": WHERE, "parts": {}}
    assert measure_all({"tests": program(tell)}, 105, result, tmp_path / "gpu.json")
    assert result["parts"]["tests"]["rows"] == {"told": ["--seconds=100"]}


def test_where_one_of_the_papers_rows_fails_the_other_is_measured(betons, tmp_path, monkeypatch):
    shutil.copy(betons["square"].path, tmp_path / "train.beton")

    def fail(*args):
        paper._run("no_such_module_of_rebar")

    monkeypatch.setattr(paper, "_alone", fail)
    monkeypatch.setattr(paper, "_study", lambda *args: [100.0, 200.0])
    said = []
    paper_rows(tmp_path, lambda rows: said.append(dict(rows)), 1.0)
    assert "No module named no_such_module_of_rebar" in said[0]["one run"]["failed"]
    assert said[1]["4 cells of a study at once"]["images_per_s"] == 300


def test_where_one_row_of_batches_fails_the_others_are_measured(betons, tmp_path, monkeypatch):
    shutil.copy(betons["square"].path, tmp_path / "train.beton")
    taken = []

    def fail():
        raise RuntimeError("no such kernel")

    def deliver():
        taken.append(1)
        return iter([1, 2, 3])

    makers = {"broken": fail, "ours": deliver, batches.GATHER: deliver}
    monkeypatch.setattr(batches, "contenders", lambda *args: dict(makers))
    said: list[dict] = []
    for seconds, turns in ((60.0, 3), (0.0, 1)):
        taken.clear()
        rows = batches.batch_rows(tmp_path, "cpu", 3, (7,), save=lambda rows: said.append(dict(rows)), seconds=seconds)
        assert rows["broken, batch 7"] == {"failed": "no such kernel"}
        assert rows["ours, batch 7"]["n"] == turns
        assert rows["ours, batch 7"]["of_gather"] > 0
        assert len(taken) == 2 * (turns + 1), "the first turn does not count"
    assert [len(rows) for rows in said] == [1, 3, 3, 3, 1, 3], "saved after each turn"


def test_parts_of_an_earlier_call_are_kept_on_the_same_card_only(tmp_path):
    path = tmp_path / "gpu.json"
    assert earlier(path, WHERE) == {}
    path.write_text(json.dumps({"environment": WHERE, "parts": {"jpeg": {}}}))
    assert earlier(path, WHERE) == {"jpeg": {}}
    assert earlier(path, WHERE | {"driver": "2"}) == {}
    assert earlier(tables.RESULTS / "gpu.json", WHERE) == {}


def test_the_table_has_every_row():
    rows = {
        "a": {"images_per_s": 1234567.0, "of_gather": 0.4321},
        "b": {"failed": "no | such thing"},
        "passed": 12,
        "seeds": {"epochs": 8, "runs": [{"accuracy": 0.94}], "accuracy": {"mean": 0.94}},
    }
    part = {"rows": rows, "seconds": 61.2, "failed": "stopped after 60 s"}
    lines = tables.gpu_parts({"environment": WHERE, "parts": {"jpeg": part}}).splitlines()
    assert lines == [
        "| jpeg, a card | in 61 s |",
        "| --- | --- |",
        "| a | images per s 1,234,567, of gather 0.4321 |",
        "| b | failed no / such thing |",
        "| passed | 12 |",
        "| seeds | epochs 8, runs 1 |",
        "| seeds: accuracy | mean 0.94 |",
        "| **failed** | stopped after 60 s |",
    ]


@pytest.mark.slow
def test_the_papers_part_trains_alone_and_as_a_study(tmp_path):
    convert_shapes(tmp_path, 600, 100)
    said = []
    options = {"model": "resnet8", "batch_size": 50, "precision": "fp32", "device": "cpu"}
    paper_rows(tmp_path / "shapes", lambda rows: said.append(dict(rows)), 1.0, 2, **options)
    assert not [row for rows in said for row in rows.values() if "failed" in row]
    assert [list(rows) for rows in said] == [["one run"], ["one run", "2 cells of a study at once"]]
    assert said[1]["2 cells of a study at once"]["n"] == 2
    assert all(row["images_per_s"] > 0 for row in said[1].values())
