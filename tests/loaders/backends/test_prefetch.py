"""Generators that run ahead of their consumer."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from loaders import EpochPlan, make_loader
from loaders.backends.prefetch import prefetch_in_turn


def test_all_sources_begin_together_and_are_taken_in_turn():
    together = threading.Barrier(3)

    def source(first):
        together.wait(timeout=10)  # which two of three would never pass
        yield from range(first, 8, 3)

    sources = [lambda i=i: source(i) for i in range(3)]
    assert list(prefetch_in_turn(sources, 2, object())) == list(range(8))


def test_an_error_comes_at_its_turn():
    def fails():
        yield 1
        raise ValueError("no more")

    items = prefetch_in_turn([lambda: iter_of(0, 2), fails], 2, object())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(items)


def iter_of(*items):
    yield from items


def test_epochs_that_begin_at_once_take_memory_of_their_own(betons):
    """One list holds what ended epochs left for the next ones; many threads take from it."""
    loader = make_loader(betons["square"].path, 7, num_threads=4)
    plan = EpochPlan(np.arange(97))
    loader._backend._idle = OnceEmpty()

    def ids():
        with contextlib.closing(loader.epoch(plan)) as batches:
            return [i for batch in batches for i in batch.ids.tolist()]

    with ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(ids) for _ in range(2)]] == [[*range(97)]] * 2


@pytest.mark.parametrize(("ahead", "fillers", "threads"), [(1 << 30, 8, 1), (6, 3, 2), (2, 1, 8), (0, 1, 8)])
def test_large_batches_are_made_fewer_at_once(betons, monkeypatch, ahead, fillers, threads):
    """`ahead` counts batches that fit; each filler may hold two."""
    square = betons["square"]
    batch_bytes = 7 * square.images[0].size * torch.float16.itemsize
    monkeypatch.setattr("loaders.backends.host.AHEAD_BYTES", ahead * batch_bytes)
    feed = make_loader(square.path, 7, dtype=torch.float16, num_threads=8)._backend
    assert (feed.fillers, feed.settings.num_threads) == (fillers, threads)
    ids = [i for batch in feed.epoch(EpochPlan(np.arange(97))) for i in batch.ids.tolist()]
    assert ids == list(range(97))


class OnceEmpty(list):
    """A list whose last item another thread takes between the look at it and the `pop`."""

    def __bool__(self):
        return True
