"""The files of a run's folder: a new folder for each run, whole rows, nothing left behind by a killed process."""

import pytest
import yaml

from training import checkpoint
from training.arguments import make_config
from training.report import folder as files

ROWS = [{"epoch": 1, "samples": 300}, {"epoch": 2, "samples": 600}, {"epoch": 3, "samples": 900}]


def test_new_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config({"data": "data/shapes", "method": "uniform", "budget": 0.1})
    names = [files.make_folder(config).name for _ in range(3)]
    assert names == ["shapes-uniform-b0.1-s0", "shapes-uniform-b0.1-s0-2", "shapes-uniform-b0.1-s0-3"]


@pytest.mark.parametrize(
    ("file", "sentence"), [(files.SUMMARY, "holds a finished run"), (checkpoint.FILE, "holds an unfinished run")]
)
def test_a_folder_with_a_run_is_refused(tmp_path, file, sentence):
    (tmp_path / file).touch()
    with pytest.raises(ValueError, match=sentence):
        files.make_folder(make_config({"out": str(tmp_path)}))


def test_rows_come_back_without_one_that_was_cut_short(tmp_path):
    assert files.read_rows(tmp_path) == []
    for row in ROWS:
        files.append_row(tmp_path, row)
    with open(tmp_path / files.METRICS, "a") as file:
        file.write('{"epoch": 4, "sam')
    assert files.read_rows(tmp_path) == ROWS


def test_rows_of_epochs_that_are_made_again_go(tmp_path):
    for row in ROWS:
        files.append_row(tmp_path, row)
    files.cut_rows(tmp_path, 2)
    assert files.read_rows(tmp_path) == ROWS[:2]


def test_leftovers_of_a_killed_process_go_and_the_settings_come(tmp_path):
    (tmp_path / ".checkpoint.pt.123.tmp").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".notes.tmp").touch()
    config = make_config({"method": "p-sgd", "smoothing": 0.25, "out": str(tmp_path)})
    files.begin(tmp_path, config, 0)
    assert {path.name for path in tmp_path.iterdir()} == {files.CONFIG, files.METRICS, "notes.txt", ".notes.tmp"}
    values = yaml.safe_load((tmp_path / files.CONFIG).read_text())
    assert "out" not in values
    assert make_config({**values, "out": str(tmp_path)}) == config
