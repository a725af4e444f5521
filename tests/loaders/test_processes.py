"""Loaders in other processes, in copies, and at the end of a program."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from loaders import Augment, EpochPlan, ImportanceTable, IndexScheduler, Scores, make_loader, open_dataset

ROOT = Path(__file__).parents[2]
PLAN = EpochPlan(np.array([5, 3, 3, 90, 0, 7]), epoch=2, key=11)


def run(code: str, *arguments: object) -> str:
    """What a program prints; it must end well and say nothing on stderr."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_data_set_pickles_as_its_path(betons, copied):
    dataset = open_dataset(betons["square"].path)
    assert len(pickle.dumps(dataset)) < 1000
    again = copied(dataset)
    assert again.path == str(betons["square"].path)
    assert np.array_equal(again.images, betons["square"].images)
    assert not again.data.flags.writeable


def test_a_file_that_has_changed_is_not_taken_for_the_one_that_was_pickled(betons, tmp_path):
    path = shutil.copy(betons["square"].path, tmp_path)
    pickled = pickle.dumps(open_dataset(path))
    shutil.copy(betons["odd"].path, path)
    with pytest.raises(ValueError, match="holds other samples than when it was pickled: open the new file"):
        pickle.loads(pickled)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_loader_pickles_as_what_it_was_made_of(betons, copied):
    scheduler, table = IndexScheduler(97, "p-sgd", budget=0.3, seed=5, batch_size=7), ImportanceTable(97)
    augment = Augment(flip=True, crop_padding=2)
    loader = make_loader(betons["square"].path, 7, augment=augment, scheduler=scheduler, table=table, num_threads=2)
    error = torch.rand(97, generator=torch.Generator().manual_seed(0))
    table.record(torch.arange(97), Scores(error, error, error))
    running = iter(loader)
    next(running), next(running)  # its first epoch, left open
    again = copied(loader)
    assert (again.backend, again.residence) == (loader.backend, loader.residence)
    for mine, theirs in zip(loader.epoch(PLAN), again.epoch(PLAN), strict=True):
        assert torch.equal(mine.images, theirs.images)
    for mine, theirs in zip(loader, again, strict=True):
        assert torch.equal(mine.ids, theirs.ids), "both go on with the second plan"
    again._table.record(torch.tensor([3]), Scores(*torch.ones(3, 1)))
    assert again._table.snapshot().visits[3] == table.snapshot().visits[3] + 1, "its table is its own"


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_another_process_reads_the_loader_and_the_data_set_that_it_is_given(betons, tmp_path, start):
    script = tmp_path / "spawn.py"
    script.write_text("""
import multiprocessing, sys
from loaders import make_loader, open_dataset

def summed(loader, dataset):
    return [int(batch.images.double().sum()) for batch in loader], [int(image.sum()) for image, _ in dataset]

def work(loader, dataset, sums):
    sums.put(summed(loader, dataset))

if __name__ == "__main__":
    loader, dataset = make_loader(sys.argv[1], 50, num_threads=1), open_dataset(sys.argv[1])
    context = multiprocessing.get_context(sys.argv[2])
    sums = context.Queue()
    process = context.Process(target=work, args=(loader, dataset, sums))
    process.start()
    print(sums.get(timeout=60) == summed(loader, dataset))
    process.join()
""")
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    assert run(code, betons["square"].path, start) == "True\n"


LEFT_TO_ITSELF = """
import sys, threading, time
import numpy as np
from loaders import EpochPlan, make_loader

loader = make_loader(sys.argv[1], 4, backend=sys.argv[2], num_threads=2)
plan = EpochPlan(np.arange(40).repeat(20))
began = threading.Event()

def iterate():
    num = 0
    for _ in range(2):
        for batch in loader.epoch(plan):
            num += len(batch.ids)
            began.set()
            time.sleep(0.001)
    print(num)

threading.Thread(target=iterate).start()
began.wait()
"""


FUSED = ("square", "fused")
OTHERS = [
    pytest.param("jpeg", "ffcv", marks=[pytest.mark.slow, pytest.mark.ffcv]),
    pytest.param("square", "reference", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "backend"), [FUSED, *OTHERS])
def test_a_thread_that_iterates_while_the_main_thread_ends_comes_to_its_end(betons, name, backend):
    assert run(LEFT_TO_ITSELF, betons[name].path, backend) == "1600\n"


NO_MORE_THREADS = """
import sys, threading
import numpy as np
from loaders import EpochPlan, make_loader

loader = make_loader(sys.argv[1], 4, backend=sys.argv[2], num_threads=3)
plan, real, left = EpochPlan(np.arange(40)), threading._start_new_thread, int(sys.argv[3])

def start(*arguments):
    global left
    left -= 1
    if left < 0:
        raise RuntimeError("can't start new thread")
    return real(*arguments)

threading._start_new_thread = start
try:
    list(loader.epoch(plan))
    print("no error")
except RuntimeError as error:
    print(error)
threading._start_new_thread = real
print(sum(len(batch.ids) for batch in loader.epoch(plan)))
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python starts its threads by another name")
@pytest.mark.parametrize(("name", "backend"), [FUSED, OTHERS[0]])
@pytest.mark.parametrize(
    "allowed", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_thread_that_cannot_start_is_one_error_and_the_next_epoch_is_whole(betons, name, backend, allowed):
    assert run(NO_MORE_THREADS, betons[name].path, backend, allowed) == "can't start new thread\n40\n"
