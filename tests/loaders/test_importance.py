import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from loaders.importance import ImportanceTable
from loaders.loader import make_loader
from loaders.order.scheduler import IndexScheduler
from loaders.types import Mix, Scores


def scores(*error):
    error = torch.tensor(error)
    return Scores(error, error * 2, error * 3)


def test_running_statistics_against_numpy():
    rng = np.random.default_rng(0)
    table = ImportanceTable(50, decay=0.7)
    history, average = {i: [] for i in range(50)}, {}
    for _ in range(6):
        ids = rng.permutation(50)[:20]
        error = rng.random(20).astype(np.float32)
        table.record(torch.from_numpy(ids), scores(*error.tolist()))
        for i, e in zip(ids.tolist(), error.tolist(), strict=True):
            history[i].append(e)
            average[i] = 0.7 * average.get(i, e) + 0.3 * e
        state = table.snapshot()
    for i, values in history.items():
        assert state.visits[i] == len(values)
        assert state.mean_error[i] == pytest.approx(np.mean(values) if values else 0, rel=1e-5)
        assert state.error_variance[i] == pytest.approx(np.var(values) if values else 0, rel=1e-4, abs=1e-6)
        assert state.error_average[i] == pytest.approx(average.get(i, 0), rel=1e-5)
        assert state.error[i] == pytest.approx(values[-1] if values else 0, rel=1e-6)
        assert state.loss[i] == pytest.approx(2 * values[-1] if values else 0, rel=1e-6)
        assert state.el2n[i] == pytest.approx(3 * values[-1] if values else 0, rel=1e-6)


def test_repeats_in_a_batch_add_up():
    table = ImportanceTable(3)
    table.record(torch.tensor([1, 1, 2]), scores(0.2, 0.4, 1.0))
    state = table.snapshot()
    assert state.visits.tolist() == [0, 2, 1]
    assert state.mean_error == pytest.approx([0, 0.3, 1.0])


def test_a_mixed_image_credits_its_partners_by_share():
    table = ImportanceTable(4)
    ids = torch.tensor([3, 0])
    mix = Mix(partners=torch.tensor([[0, 1], [1, 0]]), shares=torch.tensor([0.75, 0.25]))
    table.record_mixed(ids, mix, Scores(*[torch.tensor([[0.8, 0.4], [0.2, 0.6]])] * 3))
    state = table.snapshot()
    assert state.visits.tolist() == [1, 0, 0, 1]
    assert state.mean_error[3] == pytest.approx(0.75 * 0.8 + 0.25 * 0.6)
    assert state.mean_error[0] == pytest.approx(0.75 * 0.2 + 0.25 * 0.4)


def test_state_continues_in_the_middle_of_an_epoch():
    table, other = ImportanceTable(5), ImportanceTable(5)
    table.record(torch.tensor([0, 1]), scores(0.5, 0.25))
    other.load_state_dict({name: value.clone() for name, value in table.state_dict().items()})
    for each in (table, other):
        each.record(torch.tensor([1, 2]), scores(0.5, 0.75))
    assert all(np.array_equal(a, b) for a, b in zip(table.snapshot(), other.snapshot(), strict=True))
    with pytest.raises(ValueError, match=r"needs 'total' of shape \(4, 3\), got \(5, 3\)"):
        ImportanceTable(4).load_state_dict(table.state_dict())


def test_state_tells_which_scores_are_recorded():
    """Else a policy of errors would follow zeros after a resume, without a word."""
    table, other = ImportanceTable(5), ImportanceTable(5)
    table.record(torch.arange(5), Scores(loss=torch.ones(5)))
    state = table.state_dict()
    other.load_state_dict(state)
    known = other.snapshot()
    assert np.isnan(known.mean_error).all()
    assert known.loss.tolist() == [1] * 5
    with pytest.raises(ValueError, match=r"the batches before gave \['loss'\], this one \['el2n', 'error', 'loss'\]"):
        other.record(torch.arange(5), scores(*[0.5] * 5))
    del state["recorded"]  # as version 0.1 saved it
    other.load_state_dict(state)
    other.record(torch.arange(5), scores(*[0.5] * 5))
    assert not np.isnan(other.snapshot().mean_error).any()


def test_nan_scores_are_one_sentence_and_spoil_nothing():
    table, plain = ImportanceTable(5), ImportanceTable(5)
    for each in (table, plain):
        each.record(torch.arange(5), scores(*[0.5] * 5))
        each.snapshot()
    addresses = [tensor.data_ptr() for tensor in table.sums().values()]
    table.record(torch.tensor([2]), scores(float("nan")))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"1 samples are not finite \(first: sample 2\); .* clear_epoch\(\) discards"
        ):
            table.snapshot()
    table.clear_epoch()
    for each in (table, plain):
        each.record(torch.tensor([2]), scores(0.25))
    assert all(np.array_equal(a, b) for a, b in zip(table.snapshot(), plain.snapshot(), strict=True))
    assert addresses == [tensor.data_ptr() for tensor in table.sums().values()], "which CUDA graphs know"


def test_a_snapshot_is_read_only():
    table = ImportanceTable(3)
    table.record(torch.arange(3), Scores(loss=torch.ones(3)))
    assert not any(values.flags.writeable for values in table.snapshot())


def test_a_refused_snapshot_does_not_sum_the_ranks_twice(monkeypatch):
    monkeypatch.setattr("loaders.importance.place_among_ranks", lambda: (0, 2))
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    table = ImportanceTable(2)
    table.record(torch.tensor([0, 1]), scores(0.5, float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        table.snapshot()
    assert table.sums()["epoch"][0, 0] == 1


def test_record_does_not_touch_the_graph():
    table = ImportanceTable(2)
    error = torch.ones(2, requires_grad=True) * 2
    table.record(torch.tensor([0, 1]), Scores(error, error, error))
    assert not table.state_dict()["epoch"].requires_grad


def _rank(rank, world_size, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    scheduler, table = IndexScheduler(100, "p-sgd", budget=0.4, seed=7), ImportanceTable(100)
    for epoch in range(3):
        shard = scheduler.plan(epoch, table.snapshot()).shard(rank, world_size)
        ids = torch.from_numpy(shard.ids.copy())
        table.record(ids, scores(*((ids * 37 % 100) / 100).tolist()))
    results[rank] = (scheduler.plan(3, state := table.snapshot()).ids.tolist(), state.visits.tolist())
    dist.destroy_process_group()


def _rank_with_a_loader(rank, path, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    table = ImportanceTable(97)
    loader = make_loader(path, 5, scheduler=IndexScheduler(97, "p-sgd", budget=0.4, seed=7), table=table)
    epochs = []
    for _ in range(2):
        batches = [batch.ids.clone() for batch in loader]
        assert len(batches) == len(loader)
        epochs.append(torch.cat(batches))
        table.record(epochs[-1], scores(*((epochs[-1] * 37 % 100) / 100).tolist()))
    results[rank] = ([ids.tolist() for ids in epochs], table.snapshot().visits.tolist())
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_with_a_table_share_what_a_loader_delivers(betons, tmp_path):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_rank_with_a_loader, (betons["square"].path, tmp_path / "store", results), nprocs=2)
        (first, visits), (second, others) = results[0], results[1]
    assert visits == others
    assert sum(visits) == 2 * 38
    for one, other in zip(first, second, strict=True):
        assert len(one) == len(other) == 19
        assert not set(one) & set(other)
    turns = np.stack((first[0], second[0]), axis=1).reshape(-1)
    assert turns.tolist() == IndexScheduler(97, budget=0.4, seed=7).plan(0).ids.tolist()


def test_ranks_merge_by_one_all_reduce_and_make_the_same_plan(tmp_path):
    with mp.Manager() as manager:
        results = {}
        for world_size in (1, 2):
            shared = manager.dict()
            mp.spawn(_rank, (world_size, tmp_path / f"store{world_size}", shared), nprocs=world_size)
            results[world_size] = [shared[rank] for rank in range(world_size)]
    assert results[2][0] == results[2][1] == results[1][0]
    assert sum(results[1][0][1]) == 120


@pytest.mark.parametrize("level", [1e-6, 0.5, 1 - 1e-6])
def test_a_small_variance_is_no_noise(level):
    """p(true class) near 0: a variance as E[x^2] - E[x]^2 would be rounding errors."""
    rng = np.random.default_rng(1)
    table, history = ImportanceTable(20), []
    for _ in range(12):
        error = (level + rng.random(20) * 1e-4 * min(level, 1 - level)).astype(np.float32)
        for part in (slice(0, 10), slice(10, 20), slice(5, 15)):  # some twice in an epoch
            table.record(torch.arange(20)[part], scores(*error[part].tolist()))
        history += [np.where((np.arange(20) >= 5) & (np.arange(20) < 15), 2, 1), error]
        state = table.snapshot()
    errors, counts = np.float64(history[1::2]), np.array(history[::2])
    mean = (errors * counts).sum(0) / counts.sum(0)
    expected = ((errors - mean) ** 2 * counts).sum(0) / counts.sum(0)
    quantum = float(np.spacing(np.float32(level))) ** 2
    assert state.error_variance == pytest.approx(expected, rel=0.02, abs=4 * quantum)
    assert state.mean_error == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("ids", [[0, 5], [-1, 2], [2, -1]])
@pytest.mark.parametrize("given", [scores(0.1, 0.2), Scores(loss=torch.ones(2))], ids=["all", "loss"])
def test_ids_that_are_not_in_the_table_are_one_sentence(ids, given):
    table = ImportanceTable(5)
    with pytest.raises(ValueError, match=f"go from {min(ids)} to {max(ids)}, and the table is of the samples 0 to 4"):
        table.record(torch.tensor(ids), given)
    table.record(torch.tensor([0, 4]), given)
    assert table.snapshot().visits.tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("ids", [torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2)])
def test_ids_of_another_form_are_one_sentence(ids):
    with pytest.raises(ValueError, match=r"ids of a batch are int64 \[B\], got"):
        ImportanceTable(5).record(ids, Scores(loss=torch.ones_like(ids, dtype=torch.float32)))


def test_a_state_that_is_refused_changes_nothing():
    table, other = ImportanceTable(5), ImportanceTable(5)
    other.record(torch.arange(5), scores(*[0.5] * 5))
    other.snapshot()
    state = {**other.state_dict(), "average": torch.zeros(6)}
    with pytest.raises(ValueError, match="needs 'average' of shape"):
        table.load_state_dict(state)
    assert not any(tensor.any() for tensor in table.state_dict().values())
