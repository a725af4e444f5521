"""One process alone is the case of one rank."""

import numpy as np
import pytest
import torch

from training.machine.distributed import Ranks, join


def test_one_rank_talks_to_itself():
    ranks, total, model = Ranks(), torch.tensor([1.0, 2.0]), torch.nn.Linear(2, 2)
    assert (ranks.is_writer, ranks.is_alone) == (True, True)
    assert ranks.broadcast(b"bytes") == b"bytes"
    assert ranks.all_reduce_max(3, 1.5) == [3, 1.5]
    assert ranks.all_reduce(total) is total
    ranks.reduce_to_writer(total)
    assert total.tolist() == [1.0, 2.0]
    assert ranks.distribute(model, torch.device("cpu")) is model
    with pytest.raises(KeyError), ranks.together():
        raise KeyError


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_shards_of_all_ranks_hold_each_sample_once(world_size):
    shards = [Ranks(rank, world_size).shard(100) for rank in range(world_size)]
    assert sorted(np.concatenate(shards).tolist()) == list(range(100))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_without_torchrun_there_is_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join() as ranks:
        assert ranks == Ranks()
    assert not torch.distributed.is_initialized()
