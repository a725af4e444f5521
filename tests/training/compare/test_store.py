import dataclasses
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import weakref
from contextlib import ExitStack
from pathlib import Path

import pytest

from training.compare.controls import add_controls
from training.compare.store import Store, read_values
from training.compare.study import make_study
from training.compare.worker import train, work
from training.machine.signals import StopRequest
from training.report import folder as files

VALUES = {"name": "small", "methods": ["uniform", "scan"], "budgets": [0.1, 0.3, 1], "seeds": 4}
RESULT = {"status": "finished", "error": "", "accuracy": 0.5, "summary": {}}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "small", make_study(VALUES))
    made.begin(VALUES)
    return made


def test_each_cell_is_claimed_once_in_the_order_of_the_study(store):
    claimed = []
    while True:
        with store.claim() as cell:
            if cell is None:
                break
            claimed.append(cell)
            store.finish(cell, RESULT)
    assert claimed == list(store.study.cells)
    assert store.counts() == {"done": 24, "running": 0, "todo": 0}
    assert [one.cell for one in store.outcomes()] == [cell.name for cell in claimed]


def test_a_claimed_cell_is_given_back_when_its_block_ends(store):
    def fail():
        with store.claim() as first, store.claim() as second:
            assert (first, second) == store.study.cells[:2]
            assert store.counts() == {"done": 0, "running": 2, "todo": 22}
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.counts() == {"done": 0, "running": 0, "todo": 24}


def _take_all(folder, results):
    store = Store(folder, make_study(VALUES))
    while True:
        with store.claim() as cell:
            if cell is None:
                return
            results.put(cell.name)
            store.finish(cell, RESULT)


def test_workers_at_the_same_time_share_the_cells(store):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_take_all, args=(store.folder, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    names = [results.get(timeout=60) for _ in range(24)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(names) == sorted(cell.name for cell in store.study.cells)


_CLAIM = """
import sys, time
from pathlib import Path
from training.compare.store import Store
from training.compare.study import make_study
values = {"name": "small", "methods": ["uniform", "scan"], "budgets": [0.1, 0.3, 1], "seeds": 4}
with Store(Path(sys.argv[1]), make_study(values)).claim() as cell:
    print(cell.name, flush=True)
    time.sleep(100)
"""


def test_a_cell_of_a_killed_worker_is_claimed_again_and_that_of_a_living_one_is_not(store):
    worker = subprocess.Popen([sys.executable, "-c", _CLAIM, str(store.folder)], stdout=subprocess.PIPE, text=True)
    name = worker.stdout.readline().strip()
    assert name == store.study.cells[0].name
    assert [cell.name for cell in store.recover()] == [name]
    with store.claim() as cell:
        assert cell == store.study.cells[1]
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert store.counts()["running"] == 1
    with store.claim() as cell:
        assert cell.name == name


def test_a_worker_keeps_nothing_of_the_runs_that_are_done(store, monkeypatch):
    """Their loaders hold files open: 500 runs would need more descriptors than a process has."""

    class Holder:
        def __init__(self):
            self.me = self

    held = []

    def train_with_a_circle(*_):
        held.append(weakref.ref(Holder()))
        return RESULT | {"accuracy": 0.5}

    monkeypatch.setattr("training.compare.worker.train", train_with_a_circle)
    gc.disable()
    try:
        assert work(store, StopRequest(), lambda line: None) == 24
    finally:
        gc.enable()
    assert all(one() is None for one in held)


def test_a_worker_that_dies_between_result_and_release_has_finished(store):
    with store.claim() as cell:
        running = store.folder / "running" / f"{cell.name}.json"
        kept = running.read_bytes()
        store.finish(cell, RESULT)
        running.write_bytes(kept)
    assert store.recover() == []
    assert store.counts() == {"done": 1, "running": 0, "todo": 23}


def test_another_study_and_a_changed_one_are_refused_and_an_update_keeps_what_is_done(store):
    with store.claim() as cell:
        store.finish(cell, RESULT)
    other = {**VALUES, "name": "other"}
    with pytest.raises(ValueError, match="holds the study 'small', not 'other': choose another --out"):
        Store(store.folder, make_study(other)).begin(other)
    fewer = {**VALUES, "seeds": 2}
    changed = Store(store.folder, make_study(fewer))
    with pytest.raises(ValueError, match=r"another study file \(differs in seeds\).*--update"):
        changed.begin(fewer)
    assert store.counts() == {"done": 1, "running": 0, "todo": 23}
    changed.begin(fewer, update=True)
    assert changed.counts() == {"done": 1, "running": 0, "todo": 11}
    assert len(list((store.folder / "todo").iterdir())) == 11
    store.begin(VALUES, update=True)
    assert store.counts() == {"done": 1, "running": 0, "todo": 23}


def test_a_list_that_stands_in_two_places_of_a_study_is_read_back(tmp_path):
    budgets = [0.1, 0.3]
    values = {
        **VALUES,
        "grids": [{"methods": ["scan"], "budgets": budgets}, {"methods": ["uniform"], "budgets": budgets}],
    }
    Store(tmp_path / "small", make_study(values)).begin(values)
    assert read_values(tmp_path / "small") == values


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than a study"):
        Store(tmp_path, make_study(VALUES)).begin(VALUES)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_result_names_its_file(store):
    with store.claim() as cell:
        store.finish(cell, RESULT)
    path = store.folder / "done" / f"{cell.name}.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=f"{cell.name}.json is damaged .*: delete it"):
        store.outcomes()


def test_a_result_made_with_another_default_is_not_taken_for_this_ones(store):
    with store.claim() as cell:
        store.finish(cell, RESULT)
    path = store.folder / "done" / f"{cell.name}.json"
    path.write_text(path.read_text().replace('"momentum": 0.85', '"momentum": 0.9'))
    with pytest.raises(ValueError, match=f"momentum had another default: delete it and .*runs/{cell.name}, and call"):
        store.outcomes()


def test_results_of_data_or_code_that_changed_during_the_study_are_refused(store):
    for digests in ({"data": "a"}, {}, {"data": "a"}, {"data": "b"}):
        with store.claim() as cell:
            summary = {"digests": digests} if digests else {}  # as runs of earlier versions left it
            store.finish(cell, {**RESULT, "summary": summary})
        if digests != {"data": "b"}:
            store.outcomes()
    first = store.study.cells[0].name
    with pytest.raises(
        ValueError, match=rf"cifar10 was changed during the study: .*{first}.json and .*{cell.name}.json"
    ):
        store.outcomes()


def test_a_finished_run_made_with_another_default_is_not_taken_for_the_cells(store):
    """A result that is deleted is made of the run's summary again, where the run has the cell's settings."""
    cell = store.study.cells[0]
    folder = store.run_folder(cell)
    folder.mkdir()
    resolved = {"batch_size": 250, "device": "cpu", "precision": "fp32"}
    files.write_config(folder, dataclasses.replace(cell.config, **resolved))
    files.write_summary(folder, {"test_accuracy": 0.5})
    assert train(store, cell, StopRequest())["accuracy"] == 0.5
    files.write_config(folder, dataclasses.replace(cell.config, **resolved, momentum=0.9))
    with pytest.raises(ValueError, match=f"{cell.name} holds a run that was made when momentum had another default"):
        train(store, cell, StopRequest())


@pytest.mark.parametrize("look", range(4))
@pytest.mark.parametrize("ends", [False, True])
def test_a_cell_that_a_worker_moves_while_its_state_is_read_is_not_laid_out_again(store, monkeypatch, look, ends):
    """Another worker claims the first cell, or finishes it, between two looks at the folders."""
    worker, first = Store(store.folder, store.study), store.study.cells[0]
    exists, looks = Path.exists, []
    with ExitStack() as held:
        if ends:
            held.enter_context(worker.claim())

        def look_and_let_it_move(path: Path) -> bool:
            found = exists(path)
            if path.name == f"{first.name}.json":
                looks.append(path)
                if len(looks) == look + 1:
                    worker.finish(first, RESULT) if ends else held.enter_context(worker.claim())
            return found

        monkeypatch.setattr(Path, "exists", look_and_let_it_move)
        store.begin(VALUES)
        monkeypatch.undo()
        assert not (store.folder / "todo" / f"{first.name}.json").exists() or len(looks) <= look
    assert sum(store.counts().values()) == 24


def test_the_data_of_controls_that_are_made_first_do_not_bar_the_folder(shapes, tmp_path):
    values = add_controls({**VALUES, "settings": {"data": str(shapes)}}, tmp_path / "new")
    store = Store(tmp_path / "new", make_study(values))
    store.begin(values)
    roles = [cell.role for cell in store.study.cells]
    assert {role: roles.count(role) for role in roles} == {"main": 24, "positive control": 8, "negative control": 8}
    data = {cell.config.data for cell in store.study.cells if cell.role != "main"}
    assert all((Path(folder) / "train.beton").exists() for folder in data)
    budgets = {cell.config.budget for cell in store.study.cells if cell.role != "main"}
    with_whole = add_controls({**VALUES, "budgets": [0.25, 1.0], "settings": {"data": str(shapes)}}, tmp_path / "new")
    assert budgets == {0.3}
    assert {budget for grid in with_whole["grids"] if "role" in grid for budget in grid["budgets"]} == {0.25}
    settings = {"data": str(shapes), "budget_unit": "seconds"}
    in_seconds = add_controls({**VALUES, "budgets": [20, 60], "settings": settings}, tmp_path / "new")
    assert {budget for grid in in_seconds["grids"] if "role" in grid for budget in grid["budgets"]} == {60}
