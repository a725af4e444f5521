"""What happens around the images: batches that are kept, threads that share a loader, programs that fork or end."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch

from loaders import Augment, EpochPlan, make_loader
from tests.loaders.backends.contract import exit_code

FFCV, DALI = pytest.param("ffcv", marks=pytest.mark.ffcv), pytest.param("dali", marks=pytest.mark.dali)
pytestmark = pytest.mark.parametrize("backend", ["fused", FFCV, DALI])
AUGMENT = Augment(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PLAN = EpochPlan(np.arange(96) * 5 % 97, key=3)


@pytest.fixture
def loader(betons, backend):
    return make_loader(betons["square"].path, 8, backend=backend, augment=AUGMENT)


@pytest.fixture
def wanted(betons, backend):
    reference = make_loader(betons["square"].path, 8, backend="reference", augment=AUGMENT)
    return torch.cat([batch.images for batch in reference.epoch(PLAN)])


def test_kept_batches_stay_as_they_were(loader, wanted):
    batches = list(loader.epoch(PLAN))
    list(loader.epoch(PLAN))
    assert torch.equal(torch.cat([batch.images for batch in batches]), wanted)


def test_views_keep_their_pixels_when_the_batch_is_dropped(loader, wanted):
    views = [batch.images[3, 1:].detach() for batch in loader.epoch(PLAN)]
    assert all(torch.equal(view, wanted[8 * i + 3, 1:]) for i, view in enumerate(views))


def test_a_slow_consumer_sees_each_batch_unchanged(loader, wanted):
    for i, batch in enumerate(loader.epoch(PLAN)):
        time.sleep(0.005)
        assert torch.equal(batch.images, wanted[8 * i : 8 * i + 8])


def test_two_threads_iterate_at_once(loader, wanted):
    results = {}

    def consume(name: int) -> None:
        results[name] = torch.cat([batch.images.clone() for batch in loader.epoch(PLAN)])

    threads = [threading.Thread(target=consume, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(torch.equal(results[name], wanted) for name in range(4))


def test_a_forked_child_cannot_go_on_with_an_epoch_of_its_parent(loader):
    batches = loader.epoch(PLAN)
    next(batches)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            next(batches)
        except RuntimeError as error:
            status = 0 if "started in another process" in str(error) else 2
        finally:
            os._exit(status)
    assert exit_code(child) == 0
    assert len(list(batches)) == 11


@pytest.mark.slow
def test_programs_end_while_a_loop_is_open(betons, backend):
    """A program and a child that it forked off: no loader holds the child up, not when it drops it, not when the
    collector does, not at the end."""
    path = betons["square" if backend == "fused" else "jpeg"].path
    program = f"""
        import gc, os, warnings
        import numpy as np
        from loaders import EpochPlan, make_loader
        from tests.loaders.backends.contract import exit_code

        gc.disable()
        plan, loops = EpochPlan(np.arange(40)), []
        for _ in range(3):
            loader = make_loader({str(path)!r}, 8, backend={backend!r})
            loops.append((loader.epoch(plan), loader))
            print(len(next(loops[-1][0]).ids), flush=True)
        circle = loops[:1]
        circle.append(circle)
        del loops[0], circle, loader
        warnings.simplefilter("ignore", DeprecationWarning)  # of newer Pythons, for any fork beside threads
        child = os.fork()
        if child == 0:
            del loops[0]
            gc.collect()
        else:
            assert exit_code(child) == 0
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    run = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    result = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=root, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "8\n8\n8\n", "")
