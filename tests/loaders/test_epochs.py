"""Where a run stands: epochs, peeks, resumes, ranks; and a sentence where scores or visits are not what they should."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from loaders import Augment, CutMix, ImportanceTable, IndexScheduler, Scores, make_loader, scores
from loaders.epochs import Epochs
from loaders.torch_sampler import SchedulerSampler

N = 97


def p_sgd(**changes):
    return IndexScheduler(N, "p-sgd", **{"budget": 0.5, "seed": 3, **changes})


def record(table, ids):
    error = ((ids * 37 % 100) / 100).float()
    table.record(ids, Scores(error, error, error))


def drawn(loader, table=None, num=None):
    """The ids of the next epoch, recorded as they come; of its first `num` batches."""
    ids = []
    for batch in loader:
        ids.append(batch.ids.clone())
        if table is not None:
            record(table, ids[-1])
        if len(ids) == num:
            break
    return torch.cat(ids).tolist() if ids else []


@pytest.fixture
def make(betons):
    def loader(table=None, batch_size=7, **changes):
        options = {"scheduler": p_sgd() if table is not None else IndexScheduler(N, budget=0.5, seed=3), **changes}
        return make_loader(betons["square"].path, batch_size, dtype=torch.uint8, table=table, **options)

    return loader


def test_nothing_is_drawn_before_the_first_batch_and_a_peek_costs_no_epoch(make):
    table = ImportanceTable(N)
    loader = make(table)
    record(table, torch.arange(N))
    for _ in range(3):
        iter(loader)
    assert table.state_dict()["epoch"].any(), "no snapshot was taken"
    peeked = next(iter(loader)).ids.tolist()
    whole = drawn(loader)
    assert whole[:7] == peeked
    assert whole != drawn(loader, num=2) != drawn(loader, num=2), "what was left early is over"


def test_looking_at_one_batch_again_and_again_is_said(make):
    loader = make()
    next(iter(loader)), next(iter(loader))
    with pytest.warns(UserWarning, match="epoch 0 is begun for the third time"):
        next(iter(loader))
    next(iter(loader))


@pytest.mark.parametrize("stop", [1, 3, 7])
def test_a_loader_resumes_in_an_epoch_and_behind_it(make, stop, tmp_path):
    table = ImportanceTable(N)
    loader = make(table)
    whole = [drawn(loader, table) for _ in range(2)]
    assert len(whole[1]) == 48
    whole.append(drawn(loader, table, num=stop))
    torch.save([loader.state_dict(), table.state_dict()], tmp_path / "state")

    again_table = ImportanceTable(N)
    again = make(again_table)
    loaded, of_table = torch.load(tmp_path / "state", weights_only=True)
    again.load_state_dict(loaded)
    again_table.load_state_dict(of_table)
    again.set_epoch(2)
    rest = drawn(again, again_table)
    uninterrupted = make(other := ImportanceTable(N))
    expected = [drawn(uninterrupted, other) for _ in range(4)]
    assert [*whole[:2], whole[2] + rest] == expected[:3]
    assert drawn(again, again_table) == expected[3]


def test_the_state_of_an_epoch_that_is_done_goes_on_with_the_next(make):
    loader = make()
    drawn(loader)
    again = make()
    again.load_state_dict(loader.state_dict())
    assert drawn(again) == drawn(loader)
    with pytest.raises(ValueError, match="3 samples of epoch 0 are done, and no batch of 7 ends there"):
        again.load_state_dict({"epoch": 0, "samples_done": 3, "scores": None})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 9}, "seed was 3 and is now 9"),
        ({"budget": 1.0, "design": "scan"}, "budget was 0.5 and is now 1.0, design was race and is now scan"),
        ({"subset": np.arange(40)}, "subset was None and is now 40 numbers with checksum"),
    ],
)
def test_a_position_in_another_order_is_refused(change, told):
    sampler = SchedulerSampler(IndexScheduler(N, budget=0.5, seed=3))
    next(iter(sampler))
    state = sampler.state_dict()
    again = SchedulerSampler(IndexScheduler(N, **{"budget": 0.5, "seed": 3, **change}))
    with pytest.raises(ValueError, match=f"1 samples of epoch 0 are done, in another order \\({told}"):
        again.load_state_dict(state)
    again.load_state_dict(sampler.state_dict(samples_done=0))  # where an epoch begins, another order may follow


def test_the_end_of_an_epoch_whose_length_the_policy_sets_is_the_end_of_a_batch(make):
    def loader(batch_size):
        return make(table, batch_size, scheduler=IndexScheduler(N, "infobatch", design="systematic", seed=3))

    table = ImportanceTable(N)
    first = loader(7)
    drawn(first, table)
    second = drawn(first, table)
    assert len(second) % 7
    assert len(second) < N == len(first.scheduler)
    state, scores_of_then = first.state_dict(), {k: v.clone() for k, v in table.state_dict().items()}
    third = drawn(first)
    table.load_state_dict(scores_of_then)
    again = loader(7)
    again.load_state_dict(state)
    assert drawn(again) == third
    with pytest.raises(ValueError, match="14 samples of epoch 1 are done, and no batch of 8 ends there"):
        loader(8).load_state_dict({**state, "samples_done": 14})


def test_two_iterations_at_once_each_deliver_their_own_samples(make):
    loader = make(deliver=("ids", "images"))
    plans = [loader.scheduler.plan(epoch).ids for epoch in range(2)]
    old = iter(loader)
    next(old), next(old)
    new = iter(loader)
    assert next(new)[0].tolist() == plans[1][:7].tolist()
    assert next(old)[0].tolist() == plans[0][14:21].tolist()
    assert (loader.state_dict()["epoch"], loader.state_dict()["samples_done"]) == (1, 7)


def test_an_iteration_that_is_open_at_its_first_batch_is_no_peek(make):
    loader = make(deliver=("ids",))
    plans = [loader.scheduler.plan(epoch).ids for epoch in range(3)]
    pairs = [(first, second) for (first,), (second,) in zip(loader, loader, strict=True)]
    for ids, plan in zip(zip(*pairs, strict=True), plans[:2], strict=True):
        assert torch.cat(ids).tolist() == plan.tolist()
    for (outer,) in loader:
        (inner,) = next(iter(loader))
        assert outer.tolist() == plans[2][:7].tolist()
        break
    assert inner.tolist() == loader.scheduler.plan(3).ids[:7].tolist()
    assert next(iter(loader))[0].tolist() == inner.tolist(), "that one was closed, so it was only looked at"


def test_a_position_of_another_number_of_ranks_is_refused():
    def epochs(ranks: int) -> Epochs:
        return Epochs(IndexScheduler(N), None, lambda: (0, ranks))

    with pytest.raises(ValueError, match="ranks was 2 and is now 3"):
        epochs(3).load_state_dict(epochs(2).state_dict(7))


def test_a_sampler_never_forgets_scores():
    table = ImportanceTable(N)
    sampler = SchedulerSampler(p_sgd(), table=table)
    known = None
    for epoch in range(3):
        sampler.set_epoch(epoch)
        ids = list(sampler)
        sampler.set_epoch(epoch)  # as accelerate does at every iteration
        assert ids == list(sampler) == p_sgd().plan(epoch, known).ids.tolist()
        record(table, torch.tensor(ids))
        mirror = ImportanceTable(N)
        mirror.load_state_dict({name: value.clone() for name, value in table.state_dict().items()})
        known = mirror.snapshot()


def test_a_sampler_counts_epochs_by_itself():
    sampler, order = SchedulerSampler(IndexScheduler(N, budget=0.5, seed=3)), IndexScheduler(N, budget=0.5, seed=3)
    next(iter(sampler))
    for epoch in range(3):
        assert list(sampler) == order.plan(epoch).ids.tolist()


def test_going_back_is_said():
    sampler = SchedulerSampler(IndexScheduler(N))
    sampler.load_state_dict({"epoch": 4, "samples_done": 0, "scores": None})
    with pytest.warns(UserWarning, match=r"set_epoch\(0\) goes back from epoch 4"):
        sampler.set_epoch(0)


def test_a_policy_without_scores_is_said_once():
    sampler = SchedulerSampler(p_sgd())
    list(sampler)
    with pytest.warns(
        UserWarning, match="policy 'p-sgd' follows scores, .* since it has no table: give the one"
    ) as said:
        list(sampler)
    list(sampler)
    assert len(said) == 1
    sampler = SchedulerSampler(p_sgd(), table=ImportanceTable(N))
    list(sampler)
    with pytest.warns(UserWarning, match=r"it has a table without records: call table.record"):
        list(sampler)


@pytest.mark.parametrize("policy", ["uniform", np.arange(N) + 1.0, lambda snapshot: np.arange(N) + 1.0])
def test_a_policy_that_needs_no_scores_is_left_alone(policy):
    sampler = SchedulerSampler(IndexScheduler(N, policy, budget=0.5))
    for _ in range(3):
        list(sampler)


@pytest.mark.parametrize(("taken", "missing", "extra"), [(slice(0, 40), 8, 0), (slice(0, 48), 0, 0)])
def test_visits_that_are_not_the_plan_are_said(taken, missing, extra):
    table = ImportanceTable(N)
    sampler = SchedulerSampler(p_sgd(), table=table)
    record(table, torch.tensor(list(sampler)[taken]))
    if not missing:
        list(sampler)
        return
    with pytest.warns(
        UserWarning, match=f"of the 48 ids that epoch 0 planned .* {missing} were not .* and {extra} were"
    ):
        list(sampler)


def test_a_table_of_another_length_is_refused_at_the_call(make):
    with pytest.raises(ValueError, match="the table is of 5 samples, the scheduler of 97"):
        make(ImportanceTable(5))
    with pytest.raises(ValueError, match="the table is of 5 samples, the scheduler of 97"):
        SchedulerSampler(p_sgd(), table=ImportanceTable(5))


def test_a_table_without_a_scheduler_is_refused(betons):
    with pytest.raises(ValueError, match="a table chooses nothing without a scheduler that reads it"):
        make_loader(betons["square"].path, 10, table=ImportanceTable(N))


def test_a_loader_delivers_what_is_asked_for(make, betons):
    order = IndexScheduler(N, budget=0.5, seed=3).plan(0)
    labels = torch.cat([labels for labels, _ in make(deliver=("labels", "images"))])
    assert labels.tolist() == betons["square"].labels[order.ids].tolist()
    with pytest.raises(ValueError, match=r"deliver names fields of a batch, .* got 'images'"):
        make(deliver="images")
    with pytest.raises(ValueError, match="leaves the weights out: add 'weights'"):
        next(iter(make(deliver=("images",), scheduler=IndexScheduler(N, np.ones(N), budget=0.5, unbiased=True))))
    with pytest.raises(ValueError, match=r"CutMix mixes labels too, .* add 'mix'"):
        make(deliver=("images", "labels"), augment=Augment(mixer=CutMix()))


def _rank(rank, path, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    # Without a table each rank has its part all the same; with ranks=None the whole.
    order = IndexScheduler(N, budget=0.5, seed=3)
    parts = [drawn(make_loader(path, 7, scheduler=order, ranks=ranks)) for ranks in ("auto", None)]
    # A resume of rank 0's state, with rank 0's table, which holds what both recorded.
    table = ImportanceTable(N)
    loader = make_loader(path, 4, scheduler=p_sgd(batch_size=8), table=table)
    whole = [drawn(loader, table), drawn(loader, table, num=2)]
    table.gather()
    states = [loader.state_dict(), {name: value.clone() for name, value in table.state_dict().items()}]
    dist.broadcast_object_list(states, 0)
    again_table = ImportanceTable(N)
    again = make_loader(path, 4, scheduler=p_sgd(batch_size=8), table=again_table)
    again.load_state_dict(states[0])
    again_table.load_state_dict(states[1])
    if rank:
        again_table.clear_epoch()
    whole += [drawn(again, again_table), drawn(again, again_table)]
    # A sampler that is sharded by nobody: every id is recorded on both ranks.
    table = ImportanceTable(N)
    sampler = SchedulerSampler(p_sgd(), table=table)
    record(table, torch.tensor(list(sampler)))
    if rank:
        list(sampler)
    else:
        with pytest.warns(UserWarning, match="of the 48 ids .* 0 were not recorded and 48 were recorded in excess"):
            list(sampler)
    results[rank] = (*parts, whole)
    dist.destroy_process_group()


def turns(first, second):
    return [i for pair in zip(first, second, strict=True) for i in pair]


def test_one_rule_on_ranks(betons, tmp_path):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_rank, (betons["square"].path, tmp_path / "store", results), nprocs=2)
        (first, all_ids, mine), (second, same, theirs) = results[0], results[1]
    plan = IndexScheduler(N, budget=0.5, seed=3).plan(0).ids.tolist()
    assert turns(first, second) == plan == all_ids == same
    table = ImportanceTable(N)
    order, snapshot, epochs = p_sgd(batch_size=8), table.snapshot(), []
    for epoch in range(3):
        epochs.append(order.plan(epoch, snapshot).ids.tolist())
        record(table, torch.tensor(epochs[-1]))
        snapshot = table.snapshot()
    got = [turns(a, b) for a, b in zip(mine, theirs, strict=True)]
    assert [got[0], got[1] + got[2], got[3]] == epochs


def test_what_ranks_leave_out_of_a_sequence_is_said():
    samplers = [SchedulerSampler(IndexScheduler(N, design="sequential"), rank, 4) for rank in range(4)]
    with pytest.warns(UserWarning, match="4 ranks take equal parts of 97 samples in sequence, so the last 1 are never"):
        ids = [i for sampler in samplers for i in sampler]
    assert sorted(ids) == list(range(96))


def test_scores_of_one_kind_are_enough_for_the_policies_that_read_them():
    table = ImportanceTable(N)
    logits, labels = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 4
    everything = scores(logits, labels)
    table.record(torch.arange(N), Scores(loss=everything.loss))
    snapshot = table.snapshot()
    assert snapshot.loss.tolist() == everything.loss.tolist()
    assert np.isnan(snapshot.mean_error).all()
    for policy, design in (("loss", "race"), ("rank", "race"), ("infobatch", "systematic"), ("orderdp", "pool")):
        IndexScheduler(N, policy, budget=0.3, design=design).plan(1, snapshot)
    for policy in ("p-sgd", "c-sgd", "active-bias", "el2n"):
        with pytest.raises(ValueError, match=r"the policy reads '.*', and training records no score"):
            IndexScheduler(N, policy, budget=0.3).plan(1, snapshot)
    with pytest.raises(ValueError, match=r"the batches before gave \['loss'\], this one \['el2n', 'error', 'loss'\]"):
        table.record(torch.arange(N), everything)
    with pytest.raises(ValueError, match="needs at least one score"):
        table.record(torch.arange(N), Scores())
    with pytest.raises(ValueError, match=r"97 *,\) ids and loss of shape \(\)"):
        table.record(torch.arange(N), Scores(loss=everything.loss.mean()))


def test_weights_of_ones_own_are_a_policy():
    weights = np.arange(N) + 1.0
    mine = IndexScheduler(N, weights, budget=0.3, seed=1).plan(0)
    assert mine.ids.tolist() == IndexScheduler(N, lambda snapshot: weights, budget=0.3, seed=1).plan(0).ids.tolist()
    some = np.arange(0, N, 2)
    assert set(IndexScheduler(N, weights, budget=0.3, subset=some).plan(0).ids.tolist()) <= set(some.tolist())
    for bad in (weights[1:], -weights, weights * np.nan, np.array(["a"] * N)):
        with pytest.raises(ValueError, match=r"one weight for each of 97|weights of your own are finite"):
            IndexScheduler(N, bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_padding": 4.0}, "crop_padding is a whole number of pixels, got 4.0"),
        ({"mean": 0.5}, "mean is one number for each channel, such as .*, got 0.5"),
        ({"mean": (125, 123, 114)}, "mean and std are in units of .* divide both by 255"),
        ({"std": ("a", "b", "c")}, "std is one number for each channel"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean and std need one finite value a channel and std > 0, got .*nan"),
        ({"std": (0.2, float("inf"), 0.2)}, "mean and std need one finite value a channel and std > 0, got .*inf"),
        ({"resize": (224, 224)}, r"resize is a whole number of pixels, got \(224, 224\)"),
        ({"ratio": 1.0}, "ratio is two numbers, got 1.0"),
        ({"flip": 0.5}, "flip is True, False or 'alternating', got 0.5"),
        ({"flip": "alternate"}, "flip is True, False or 'alternating', got 'alternate'"),
        ({"vertical_flip": "yes"}, "vertical_flip is True or False, got 'yes'"),
        ({"color_jitter": 0.4}, r"color_jitter is None, or such as ColorJitter\(0.4, 0.4, 0.4\), got 0.4"),
        ({"erasing": 0.25}, r"erasing is None, or a value such as RandomErasing\(p=0.25\), got 0.25"),
        ({"resize": 32, "center_crop": "all"}, "center_crop is a fraction"),
    ],
)
def test_augment_is_checked_where_it_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(**options)


def test_what_is_no_plan_and_no_augmentation_is_one_sentence(make):
    with pytest.raises(ValueError, match=r"a plan is an EpochPlan, got list: make one of ids"):
        make().epoch([1, 2, 3])
    with pytest.raises(ValueError, match=r"augment is a value such as Augment\(flip=True\), got \{\}"):
        make(augment={})
    with pytest.raises(ValueError, match="ranks is 'auto', or None"):
        make(ranks=2)


def test_a_data_set_is_a_sequence_and_says_what_it_is(make, betons):
    dataset = make().dataset
    image, label = dataset[5]
    assert len(dataset) == N
    assert np.array_equal(image, betons["square"].images[5])
    assert label == betons["square"].labels[5]
    assert np.array_equal(dataset[-1][0], dataset[N - 1][0])
    with pytest.raises(IndexError, match=r"sample 97 is not in 0\.\.96"):
        dataset[N]
    assert "97 samples, batches of 7, backend 'fused'" in repr(make())
    assert "batches of 90" in repr(make(batch_size=90, drop_last=True)), "an epoch of 48 has none, and plans may"
    assert make().classes is None


def test_the_classes_are_those_of_the_manifest(photos):
    dataset = make_loader(photos / "train.tar", 4, augment=Augment(resize=32), backend="reference").dataset
    assert dataset.classes == ("class0", "class1", "class2")
    assert dataset[0][0].shape == (dataset.heights[0], dataset.widths[0], 3)


def test_a_policy_cannot_write_into_what_is_saved(make):
    def spoil(snapshot):
        snapshot.loss[:] = 5
        return np.ones(N)

    table = ImportanceTable(N)
    order = IndexScheduler(N, budget=0.5, seed=3)
    loader = make(table, scheduler=order)
    drawn(loader, table)
    drawn(loader, num=2)
    state = loader.state_dict()
    again = make(ImportanceTable(N), scheduler=order)
    again.load_state_dict(state)
    for known in (None, table.snapshot(), again._epochs._scores):
        with pytest.raises(ValueError, match="read-only"):
            IndexScheduler(N, spoil).plan(2, known)
    assert torch.equal(again.state_dict()["scores"]["loss"], state["scores"]["loss"])
    assert state["scores"]["loss"].any()


def test_a_state_may_be_loaded_to_a_gpu(make):
    class OnGpu(torch.Tensor):  # as after torch.load(map_location="cuda")
        def numpy(self):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

        def cpu(self):
            return self.as_subclass(torch.Tensor)

    table = ImportanceTable(N)
    loader = make(table)
    drawn(loader, table)
    drawn(loader, num=2)
    state = loader.state_dict()
    again = make(ImportanceTable(N))
    again.load_state_dict({**state, "scores": {k: v.as_subclass(OnGpu) for k, v in state["scores"].items()}})
    assert drawn(again) == loader._epochs.plan().ids[14:].tolist()


def test_more_ranks_than_samples_are_one_sentence():
    epochs = Epochs(IndexScheduler(3), None, lambda: (0, 4))
    with pytest.raises(ValueError, match="epoch 0 has 3 samples, too few for equal parts of 4 ranks"):
        epochs.begin(peek=0)


def test_a_loader_of_the_whole_plan_asks_no_other_rank_for_scores(make, monkeypatch):
    monkeypatch.setattr("loaders.importance.place_among_ranks", lambda: (0, 2))
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: pytest.fail("another rank would have to ask too"))
    table = ImportanceTable(N)
    loader = make(table, ranks=None)
    drawn(loader, table)
    drawn(loader, num=1)
    assert table.visits.sum().item() == 48
