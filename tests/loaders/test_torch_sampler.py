import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from loaders.order.scheduler import IndexScheduler
from loaders.torch_sampler import SchedulerSampler
from loaders.types import Snapshot


class Ids(Dataset):
    def __getitem__(self, index):
        return index

    def __len__(self):
        return 200


SCORES = Snapshot(*np.random.default_rng(0).random((7, 200), dtype=np.float32))


def make(seed=5, **kwargs):
    return SchedulerSampler(IndexScheduler(200, "p-sgd", budget=0.5, seed=seed), **kwargs)


@pytest.mark.parametrize("workers", [0, 2])
def test_in_a_data_loader_with_workers(workers):
    sampler = make()
    loader = DataLoader(Ids(), batch_size=16, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    for epoch in range(3):
        sampler.set_epoch(epoch, SCORES)
        assert torch.cat(list(loader)).tolist() == sampler.scheduler.plan(epoch, SCORES).ids.tolist()
    assert len(loader) == 7


@pytest.mark.parametrize("workers", [0, 2])
def test_resumes_in_the_middle_of_an_epoch(workers, tmp_path):
    sampler = make()
    sampler.set_epoch(4, SCORES)
    batches = iter(DataLoader(Ids(), batch_size=16, sampler=sampler, num_workers=workers))
    done = [next(batches) for _ in range(3)]
    torch.save(sampler.state_dict(samples_done=48), tmp_path / "state")
    del batches

    again = make()
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    rest = list(DataLoader(Ids(), batch_size=16, sampler=again, num_workers=workers))
    assert torch.cat(done + rest).tolist() == sampler.plan().ids.tolist()
    again.set_epoch(5, SCORES)
    assert list(again) == again.plan().ids.tolist()


def test_counts_what_it_handed_out():
    sampler = make()
    iterator = iter(sampler)
    for _ in range(7):
        next(iterator)
    assert sampler.state_dict()["samples_done"] == 7
    with pytest.raises(ValueError, match=r"samples_done must be in 0..100, got 101"):
        sampler.state_dict(101)


def test_ranks_are_disjoint_and_equal():
    ranks = [list(make(rank=rank, world_size=3)) for rank in range(3)]
    assert {len(ids) for ids in ranks} == {33} == {len(make(rank=0, world_size=3))}
    assert len({i for ids in ranks for i in ids}) == 99


@pytest.mark.parametrize("length", [199, 201])
def test_a_data_set_of_another_length_is_one_sentence(length):
    with pytest.raises(ValueError, match=f"the scheduler is of 200 samples, the data set of {length}"):
        make(dataset=range(length))
    make(dataset=Ids())


def test_an_iteration_of_an_earlier_epoch_moves_no_position():
    sampler = make()
    old = iter(sampler)
    next(old)
    sampler.set_epoch(1, SCORES)
    new = iter(sampler)
    for _ in range(7):
        next(new)
    next(old)
    assert sampler.state_dict()["samples_done"] == 7


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_it_pickles_and_copies_with_its_position(copied):
    sampler = SchedulerSampler(IndexScheduler(200, budget=0.5, seed=5), rank=1, world_size=2)
    first = list(sampler)
    again = copied(sampler)
    assert list(again) == list(sampler) != first
    assert (again.rank, again.state_dict()["samples_done"]) == (1, 50)
