"""A conversion that is killed at any step leaves the old data set whole, or the new one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convert.writers.dataset import write_dataset
from convert.writers.exchange import BUILDING, READY, SHEET, exchanging
from convert.writers.split import finished, whole_manifest
from loaders.formats.lock import FILE as LOCK
from loaders.formats.lock import lock_folder

CLASSES = tuple("abcdefghij")
ROOT = Path(__file__).parents[3]

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from convert.writers.dataset import write_dataset
from convert.writers.split import finished

def convert(folder, seed, format):
    random = np.random.default_rng(seed)
    splits = {name: (random.integers(0, 256, (8, 4, 4, 3), np.uint8), np.arange(8)) for name in ("train", "test")}
    write_dataset(folder, "x", splits, tuple("abcdefgh"), format=format, source=str(seed), verified=False)

def in_a_fork(folder, seed, format, last):
    pid = os.fork()
    if not pid:
        left = [last]
        def count(event, arguments):  # of what changes the folder; a hook comes before the call
            if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        convert(folder, seed, format)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

work, old, new = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
kept, step = {}, 0
for seed, format in ((1, old), (2, new)):
    convert(work / str(seed), seed, format)
    kept[seed] = {path.name: path.read_bytes() for path in (work / str(seed)).iterdir()}
seen = set()
while True:
    folder = work / f"killed{step}"
    convert(folder, 1, old)
    status = in_a_fork(folder, 2, new, step)
    step += 1
    manifest = folder / "manifest.json"
    state = manifest.read_bytes() if manifest.exists() else None
    if state == kept[1]["manifest.json"]:
        whole, seen = kept[1], seen | {"old"}
    else:
        whole, seen = kept[2], seen | {"new" if state else "between"}
        assert finished(folder, new).source == "2"  # finishes what was begun
    assert {name: (folder / name).read_bytes() for name in whole} == whole, step
    convert(folder, 2, new)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept[2], step
    if status == 0:
        break
print(step, sorted(seen))
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("dali", "dali"), pytest.param("beton", "dali", marks=pytest.mark.slow)],
)
def test_killed_at_every_step(tmp_path, old, new):
    command = [sys.executable, "-c", KILLED, str(tmp_path), old, new]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    steps, seen = done.stdout.split(maxsplit=1)
    assert int(steps) > 15
    assert seen.strip() == "['between', 'new', 'old']"


def test_what_a_killed_conversion_left_goes(arrays, tmp_path):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    names = {path.name for path in tmp_path.iterdir()}
    (tmp_path / BUILDING).mkdir()
    (tmp_path / BUILDING / "train.tar").write_bytes(b"half")
    (tmp_path / READY).mkdir()  # all is in place, only the folder was not removed yet
    assert finished(tmp_path, "dali") is not None
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize("left", [BUILDING, LOCK])
def test_it_goes_as_well_where_the_next_call_finds_its_work_done(arrays, tmp_path, left):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    names = {path.name for path in tmp_path.iterdir()}
    if left == BUILDING:
        (tmp_path / BUILDING).mkdir()
        (tmp_path / BUILDING / "train.tar").write_bytes(b"half")
    else:
        (tmp_path / LOCK).touch()
    assert finished(tmp_path, "dali") is not None
    assert {path.name for path in tmp_path.iterdir()} == names


def test_what_a_conversion_at_work_has_made_stays(arrays, tmp_path):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    with lock_folder(tmp_path):
        (tmp_path / BUILDING).mkdir()
        assert finished(tmp_path, "dali") is not None
        assert (tmp_path / BUILDING).exists()


def test_a_reader_keeps_the_file_that_it_has_open(arrays, tmp_path):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    with open(tmp_path / "train.tar", "rb") as file:
        before = os.fstat(file.fileno()).st_size
        others = {split: (255 - images, labels) for split, (images, labels) in arrays.items()}
        write_dataset(tmp_path, "x", others, CLASSES, format="dali", source="s", verified=False)
        assert len(file.read()) == before
    assert whole_manifest(tmp_path) is not None


def test_the_contact_sheet_of_the_old_set_goes(arrays, tmp_path):
    write_dataset(tmp_path, "x", arrays, CLASSES, format="dali", source="s", verified=False)
    (tmp_path / SHEET).write_bytes(b"its images")
    others = {split: (255 - images, labels) for split, (images, labels) in arrays.items()}
    write_dataset(tmp_path, "x", others, CLASSES, format="dali", source="s", verified=False)
    assert not (tmp_path / SHEET).exists()


def test_an_exchange_that_fails_removes_a_folder_that_it_made(tmp_path):
    with pytest.raises(KeyError), exchanging(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
