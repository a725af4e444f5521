"""The methods that choose within a batch, in the loop: what is trained on, what is counted, what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from loaders.importance import ImportanceTable
from loaders.types import Batch, EpochPlan, Mix
from training.budget import Budget
from training.checkpoint import State
from training.config import Config
from training.ledger import Ledger
from training.loop import train_epoch, train_step
from training.losses import sample_losses
from training.machine.distributed import Ranks
from training.machine.precision import choose_precision
from training.methods.batch_memory import new_memory
from training.methods.batch_rules import LOOK_EVERY, NAMES, BatchRule, make_batch_rule, offered_fraction
from training.methods.selection import HISTORY
from training.step_rule import StepRule

CPU = torch.device("cpu")
FP32 = choose_precision("fp32", CPU)
NUM, SIZE, CLASSES = 1200, 20, 3
RNG = np.random.default_rng(0)
IMAGES = torch.from_numpy(RNG.normal(size=(NUM, 3, 2, 2)).astype(np.float32))
LABELS = torch.from_numpy(RNG.integers(0, CLASSES, NUM))


class Loader:
    """Batches of fixed images, mixed by pairs where asked."""

    def __init__(self, mix: bool = False):
        self.mix = mix

    def epoch(self, plan: EpochPlan, start_batch: int = 0):
        for first in range(start_batch * SIZE, len(plan), SIZE):
            ids = torch.from_numpy(plan.ids[first : first + SIZE].copy())
            images, mix = IMAGES[ids], None
            if self.mix:
                share = 0.6 + 0.3 * (first % 7) / 7
                partners = torch.stack([torch.arange(SIZE), torch.arange(SIZE).roll(1)], dim=1)
                images = share * images + (1 - share) * images.roll(1, 0)
                mix = Mix(partners, torch.tensor([share, 1 - share]))
            yield Batch(images.contiguous(memory_format=torch.channels_last), LABELS[ids], ids, None, mix)


class Spy(nn.Module):
    """A linear network that notes how many images it sees, in training and for scores."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, CLASSES, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, 36).reshape(CLASSES, 12).sin())
            self.linear.bias.zero_()
        self.passes = {True: 0, False: 0}

    def forward(self, images):
        self.passes[self.training] += len(images)
        return self.linear(images.flatten(1))


def sgd(model: nn.Module, lr: float) -> list:
    return [torch.optim.SGD([{"params": list(model.parameters()), "base_lr": lr}], lr=lr)]


def make(name: str, steps: int = 10_000, lr: float = 0.02, unit="steps", cost=0.0, **options) -> tuple[State, StepRule]:
    model = Spy()
    state = State(model, sgd(model, lr), ImportanceTable(NUM), Ledger(NUM), memory=new_memory(NUM, CPU))
    choice = BatchRule(name, SIZE, **options)
    budget = Budget(unit, steps, None, cost)
    return state, StepRule(budget, SIZE, FP32, {None: 3.0}, choice=choice, scoring_flops={None: 1.0})


def run(state: State, rule: StepRule, epochs: int = 1, mix: bool = False) -> None:
    for _ in range(epochs):
        ids = np.random.default_rng(state.epoch).permutation(NUM)
        state.plan, state.batch = EpochPlan(ids, epoch=state.epoch, key=state.epoch + 1), 0
        list(train_epoch(state, Loader(mix), rule))
        state.memory.settle(state.ledger, Ranks())
        state.memory.end_epoch(Ranks())
        state.epoch += 1


def counts(state: State) -> tuple:
    ledger = state.ledger
    return ledger.steps, ledger.samples, ledger.forward_samples, ledger.backward_samples, ledger.flops


def check_ledger(state: State) -> None:
    """What was counted is what the network saw."""
    passes, ledger = state.model.passes, state.ledger
    assert ledger.backward_samples == passes[True]
    assert ledger.forward_samples == passes[True] + passes[False]
    assert ledger.flops == 3 * passes[True] + passes[False]
    assert ledger.visits.sum() == ledger.samples == state.trained
    assert state.table.snapshot().visits.sum() == pytest.approx(ledger.samples, rel=1e-5)


@pytest.mark.parametrize("mix", [False, True])
def test_selective_backprop_is_charged_for_every_image_and_trains_on_its_share(mix):
    state, rule = make("selective-backprop", lr=1e-3, keep=0.25)
    run(state, rule, 1, mix)
    prime = -(-HISTORY // SIZE) - 1  # the batch that fills the history is chosen from
    assert state.model.passes[False] == NUM
    assert prime <= state.ledger.steps <= prime + 3
    before = state.ledger.samples
    run(state, rule, 8, mix)
    check_ledger(state)
    assert state.model.passes[False] == 9 * NUM
    assert (state.ledger.samples - before) / (8 * NUM) == pytest.approx(0.25, abs=0.02)
    assert state.ledger.samples == SIZE * state.ledger.steps, "batches are whole, and carried over from epoch to epoch"
    assert state.model.training


def test_selective_backprop_primes_for_an_epoch_in_the_reference():
    state, rule = make("selective-backprop", keep=0.25, arazo=True)
    run(state, rule)
    assert state.ledger.visits.tolist() == [1] * NUM
    run(state, rule)
    assert 0.15 * NUM < state.ledger.samples - NUM < 0.35 * NUM


def test_selective_backprop_prefers_large_losses():
    state, rule = make("selective-backprop", lr=1e-6, keep=0.25)
    run(state, rule, 10)
    with torch.no_grad():
        losses = sample_losses(state.model(IMAGES), LABELS)
    ranks = losses.argsort().argsort().double() / NUM
    visits = torch.from_numpy(state.ledger.visits).double() - 1024 / NUM
    assert ((visits * ranks).sum() / visits.sum()).item() == pytest.approx(4 / 5, abs=0.04)  # beta is 3


def test_selective_backprop_says_when_nothing_is_kept_for_ever():
    state, rule = make("selective-backprop", lr=1e-9, keep=0.25, arazo=True)
    with torch.no_grad():
        state.model.linear.weight.zero_()
    with pytest.raises(ValueError, match="their losses are all equal"):
        run(state, rule, 3)


@pytest.mark.parametrize("mix", [False, True])
def test_random_batch_keeps_exactly_its_share_without_a_pass(mix):
    state, rule = make("random-batch", keep=0.3)
    run(state, rule, 4, mix)
    check_ledger(state)
    assert counts(state)[:3] == (72, 4 * NUM * 0.3, 4 * NUM * 0.3)
    assert state.model.passes[False] == 0
    assert state.memory.held is None
    if not mix:
        spread = np.bincount(state.ledger.visits, minlength=5) / NUM
        binomial = [0.7**4, 4 * 0.3 * 0.7**3, 6 * 0.09 * 0.49, 4 * 0.027 * 0.7, 0.0081]
        assert spread == pytest.approx(binomial, abs=0.05)


@pytest.mark.parametrize("mix", [False, True])
def test_ordered_sgd_descends_on_the_mean_of_the_largest_losses(mix):
    batch = next(Loader(mix).epoch(EpochPlan(np.arange(NUM))))
    rule, memory, model = BatchRule("ordered-sgd", SIZE, keep=0.25), new_memory(NUM, CPU), Spy()
    losses = sample_losses(model(batch.images), batch.labels, batch.mix)
    worst = losses.topk(5)
    gradient = torch.autograd.grad(worst.values.mean(), model.linear.weight)[0]
    expected = model.linear.weight.detach() - 0.5 * gradient
    trained, scores = train_step(model, sgd(model, 0.5), batch, FP32, narrow=lambda *args: rule.narrow(memory, *args))
    assert torch.allclose(model.linear.weight, expected, atol=1e-6)
    own_ids = batch.ids if batch.mix is None else batch.ids[batch.mix.partners]
    assert trained.ids.tolist() == own_ids[worst.indices].tolist()
    assert len(scores.loss) == 5


def test_ordered_sgd_follows_the_accuracy_of_the_epoch_before():
    state, rule = make("ordered-sgd", lr=1e-6)
    with torch.no_grad():
        right = (state.model(IMAGES).argmax(1) == LABELS).double().mean().item()
    run(state, rule)
    assert counts(state)[:4] == (60, NUM, 2 * NUM - NUM, NUM)
    assert state.memory.accuracy == pytest.approx(right, abs=0.01)
    state.memory.accuracy = 0.92
    run(state, rule)
    assert counts(state) == (120, NUM + NUM // 4, 2 * NUM, 2 * NUM, 6.0 * NUM), "passes are over whole batches"
    assert state.memory.accuracy == pytest.approx(right, abs=0.01)
    assert state.ledger.visits.sum() == NUM + NUM // 4


def test_grad_norm_trains_plainly_until_gradients_differ_and_then_scores_three_for_one():
    plain, rule = make("grad-norm", lr=0.2, threshold=1e9)
    run(plain, rule, 2)
    check_ledger(plain)
    assert counts(plain)[:3] == (120, 2 * NUM, 2 * NUM)
    assert plain.memory.tau.item() > 1
    state, rule = make("grad-norm", lr=0.2, threshold=0.5)
    run(state, rule, 2)
    check_ledger(state)
    assert state.memory.is_drawing
    plain_steps = LOOK_EVERY  # tau is above 0.5 by then, as it is at least 1 - 0.9^10
    drawn = (120 - plain_steps) // 3
    assert counts(state)[0] == plain_steps + drawn
    assert state.model.passes == {True: SIZE * (plain_steps + drawn), False: SIZE * (120 - plain_steps)}
    assert len(state.memory.norms) == SIZE * ((120 - plain_steps) % 3)


@pytest.mark.parametrize("name", ["grad-norm", "ordered-sgd"])
def test_as_long_as_nothing_is_chosen_the_run_is_that_of_uniform(name):
    chosen, rule = make(name, lr=0.2, threshold=1e9)
    uniform, plain = make(name, lr=0.2)
    run(chosen, rule)
    run(uniform, dataclasses.replace(plain, choice=None))
    assert torch.equal(chosen.model.linear.weight, uniform.model.linear.weight)
    assert chosen.ledger.summary()["visits"] == uniform.ledger.summary()["visits"]


def test_grad_norm_stops_drawing_when_gradients_are_alike():
    state, rule = make("grad-norm", lr=0.0, threshold=1.5)
    state.memory.tau += 9
    run(state, rule, 3)
    assert not state.memory.is_drawing
    assert state.model.passes[False] > 0
    norms = state.memory.tau.item()
    assert 1 <= norms < 1.5


def test_grad_norm_weights_make_the_step_unbiased():
    """Over many keys, the mean of the drawn batches' gradients is that of the three candidate batches."""
    model, gradients = Spy(), []
    ids = np.random.default_rng(0).permutation(NUM)[: 3 * SIZE]
    with torch.no_grad():
        model.linear.weight.mul_(4)
    losses = sample_losses(model(IMAGES[ids]), LABELS[ids])
    full = torch.autograd.grad(losses.mean(), model.linear.weight)[0]
    rule = BatchRule("grad-norm", SIZE)
    step_rule = StepRule(Budget("steps", 10, None), SIZE, FP32, {None: 3.0}, choice=rule, scoring_flops={None: 1.0})
    for key in range(500):
        state = State(model, sgd(model, 0.0), ImportanceTable(NUM), Ledger(NUM), memory=new_memory(NUM, CPU))
        state.memory.tau += 9
        state.plan = EpochPlan(ids, key=key)
        list(train_epoch(state, Loader(), step_rule))
        assert state.ledger.steps == 1
        gradients.append(model.linear.weight.grad.clone())
    gradients = torch.stack(gradients).double()
    assert ((gradients.mean(0) - full).abs() < 4.5 * gradients.std(0) / len(gradients) ** 0.5).all()


def test_what_decides_is_told():
    for name, keys in [("ordered-sgd", ["train_accuracy", "num_largest"]), ("grad-norm", ["tau", "is_drawing"])]:
        state, rule = make(name, lr=0.2, threshold=0.5)
        run(state, rule)
        told = rule.choice.describe(state.memory)
        assert [*told] == keys
        assert told.get("num_largest", SIZE) == rule.choice.num_largest(state.memory)
        assert told.get("tau", 1) > 0.9
        assert told.get("is_drawing", 1) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["ordered-sgd", "grad-norm", "random-batch"])
def test_only_selective_backprop_waits_for_the_device(name):
    state, rule = make(name, lr=0.2, threshold=0.5, keep=0.25)
    state.model.cuda()
    state.optimizers, state.table = sgd(state.model, 0.2), ImportanceTable(NUM, "cuda")
    state.memory, state.loss_sum = new_memory(NUM, torch.device("cuda")), state.loss_sum.cuda()
    state.memory.is_drawing, state.memory.steps = True, 1  # nine steps to the next look at tau
    state.plan = EpochPlan(np.arange(NUM), key=1)
    batches = [
        Batch(*(value if value is None else value.cuda() for value in batch[:4]), None)
        for batch in Loader().epoch(state.plan)
    ]

    class Ready:
        def epoch(self, plan, start_batch=0):
            return iter(batches[start_batch:])

    steps = train_epoch(state, Ready(), rule)
    [next(steps) for _ in range(6)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        [next(steps) for _ in range(9)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.ledger.steps >= 3


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_in_flops_is_never_exceeded_and_spent_to_the_last_step(name):
    scoring = SIZE if name in ("selective-backprop", "grad-norm") else 0
    total, cost = 20_000.0, 3.0 * SIZE + scoring
    state, rule = make(name, total, unit="flops", cost=cost, keep=0.25, threshold=0.5)
    while not rule.budget.is_spent(state.ledger):
        run(state, rule)
    assert total - cost < state.ledger.flops <= total
    check_ledger(state) if name != "ordered-sgd" else None


def test_a_run_ends_behind_its_last_step_in_the_middle_of_an_epoch():
    state, rule = make("selective-backprop", steps=70, keep=0.25)
    while not rule.budget.is_spent(state.ledger):
        run(state, rule)
    assert (state.ledger.steps, state.ledger.samples) == (70, 70 * SIZE)


def test_options():
    rule = make_batch_rule(Config(method="selective-backprop", budget=0.3, batch_size=64))
    assert (rule.keep, rule.batch_size) == (0.3, 64)
    assert make_batch_rule(Config(method="selective-backprop", budget=0.3, keep=0.25)).keep == 0.25
    assert make_batch_rule(Config(method="random-batch", budget=60, budget_unit="seconds")).keep == pytest.approx(1 / 3)
    assert make_batch_rule(Config(method="ordered-sgd", budget=0.3)).keep is None
    assert make_batch_rule(Config(method="ordered-sgd"), Ranks(0, 2)).batch_size == 125
    assert make_batch_rule(Config(method="grad-norm")).threshold == 2
    assert make_batch_rule(Config(method="grad-norm", presample=6)).threshold == 3
    assert make_batch_rule(Config(method="uniform")) is None
    assert offered_fraction(Config(method="random-batch", budget=0.3)) == 1
    assert offered_fraction(Config(method="grad-norm", budget=0.3)) == 0.3


@pytest.mark.parametrize(
    ("settings", "ranks", "sentence"),
    [
        ({"method": "selective-backprop"}, 1, "keeps a share of each batch: give --keep or a --budget below 1"),
        ({"method": "random-batch", "budget": 0.3}, 2, "in one process: start it without torchrun"),
        ({"method": "ordered-sgd", "keep": 1.5}, 1, "keep must be above 0 and at most 1, got 1.5"),
        ({"method": "grad-norm", "presample": 0}, 1, "presample must be at least 1, got 0"),
    ],
)
def test_what_cannot_work_is_one_sentence(settings, ranks, sentence):
    with pytest.raises(ValueError, match=r".") as error:
        make_batch_rule(Config(**settings), Ranks(0, ranks))
    assert sentence in str(error.value)
