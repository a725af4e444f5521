"""A function of one's own on every batch: what it is given, where it runs, and what becomes of its errors."""

import pickle
import threading

import numpy as np
import pytest
import torch

from loaders import Augment, EpochPlan, IndexScheduler, make_loader
from loaders.backends.gpu.transfer import OnDevice

N = 97


def add_noise(batch, key):
    noise = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(key))
    return batch._replace(images=batch.images + noise)


@pytest.fixture
def make(betons):
    def loader(batch_transform, batch_size=10, **options):
        options = {"scheduler": IndexScheduler(N, budget=0.5, seed=3), "augment": Augment(flip=True), **options}
        return make_loader(betons["odd"].path, batch_size, batch_transform=batch_transform, **options)

    return loader


def delivered(batches) -> list:
    return [batch._replace(images=batch.images.clone()) for batch in batches]


def assert_equal(mine, theirs) -> None:
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.ids, b.ids)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_it_is_given_the_batch_as_it_would_be_delivered_and_its_result_is(make, backend):
    given, plain = [], delivered(make(None, backend=backend))

    def keep(batch, key):
        given.append(batch._replace(images=batch.images.clone()))
        return batch._replace(images=-batch.images, labels=batch.labels + key % 2 + 1)

    made = delivered(make(keep, backend=backend))
    assert_equal(given, plain)
    for batch, before in zip(made, plain, strict=True):
        assert torch.equal(batch.images, -before.images)
        assert (batch.labels > before.labels).all()


def test_keys_tell_batches_epochs_seeds_and_ranks_apart(make):
    keys = []

    def note(batch, key):
        keys.append(key)
        return batch

    for seed in range(2):
        loader = make(note, scheduler=IndexScheduler(N, seed=seed))
        for _ in range(2):
            list(loader)
    plan = IndexScheduler(N, seed=7).plan(0)
    for rank in range(2):
        list(loader.epoch(plan.shard(rank, 2)))
    assert len(keys) == len(set(keys)) == 4 * 10 + 2 * 5
    assert all(0 <= key < 2**64 for key in keys)
    first = keys[:10]
    list(make(note, scheduler=IndexScheduler(N, seed=0)))
    assert keys[-10:] == first


def test_a_resumed_epoch_repeats_what_the_function_drew(make):
    whole = delivered(make(add_noise))
    begun = make(add_noise)
    for _, _batch in zip(range(2), begun, strict=False):
        state = begun.state_dict()
    resumed = make(add_noise)
    resumed.load_state_dict(state)
    assert_equal(delivered(resumed), whole[2:])
    plan = EpochPlan(np.arange(40), key=5)
    assert_equal(begun.epoch(plan, start_batch=3), delivered(begun.epoch(plan))[3:])


def test_it_runs_on_the_callers_thread_and_its_errors_come_as_they_are(make):
    threads = set()

    def fails_at_last(batch, key):
        threads.add(threading.current_thread())
        if len(batch.ids) < 10:
            raise OSError("the disk is gone")
        return batch

    taken = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        taken.extend(batch.ids for batch in make(fails_at_last))
    assert len(taken) == 4
    assert threads == {threading.main_thread()}
    assert any(entry.name == "fails_at_last" for entry in caught.traceback)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda batch, key: batch.images, "got Tensor"),
        (lambda batch, key: None, "got NoneType"),
        (lambda batch, key: type(batch)(*(x if x is None else x[1:] for x in batch)), "got one of 9 samples"),
        (lambda batch, key: batch._replace(images=batch.images[:5]), "got one of 5 and 10 samples"),
    ],
)
def test_what_is_no_batch_of_as_many_samples_is_one_sentence(make, function, got):
    with pytest.raises(
        ValueError, match=f"batch_transform returns a Batch of as many samples as it was given, 10, .*{got}"
    ):
        next(iter(make(function)))


def test_tuples_are_taken_of_its_result_and_a_copy_keeps_it(make):
    loader = make(add_noise, deliver=("images", "ids"))
    whole = [(images.clone(), ids) for images, ids in loader]
    copy = pickle.loads(pickle.dumps(make(add_noise, deliver=("images", "ids"))))
    for mine, theirs in zip(copy, whole, strict=True):
        assert torch.equal(mine[0], theirs[0])
        assert torch.equal(mine[1], theirs[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_its_tensors_lie_there(make):
    def check(batch, key):
        assert batch.images.is_cuda
        return batch

    for backend in ("fused", "ffcv"):
        loader = make(check, device="cuda", backend=backend)
        assert isinstance(loader._backend, OnDevice) == (backend == "ffcv")
        assert len(list(loader)) == 5
