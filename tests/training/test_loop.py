"""One step: its loss, its scores, its rates; and what evaluation computes."""

import numpy as np
import pytest
import torch

from loaders.importance import ImportanceTable
from loaders.types import Batch, EpochPlan, Mix
from training.budget import Budget
from training.checkpoint import State
from training.config import Config
from training.data import choose_image_sizes
from training.evaluate import evaluate, tta_logits
from training.ledger import Ledger
from training.loop import StepRule, train_epoch, train_step
from training.losses import sample_scores
from training.machine.precision import choose_precision
from training.models.build import build_model

CPU = torch.device("cpu")
FP32 = choose_precision("fp32", CPU)


def make_batch(size: int = 6, mix: Mix | None = None, weights=None, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.arange(size) % 4, torch.arange(size), weights, mix)


def make_model() -> torch.nn.Module:
    model = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 4, device="meta")
    )
    model.to_empty(device="cpu")
    with torch.no_grad():
        model[2].weight.normal_(generator=torch.Generator().manual_seed(1))
        model[2].bias.zero_()
    return model


def sgd(model, lr=0.1):
    return [torch.optim.SGD([{"params": list(model.parameters()), "base_lr": lr}], lr=lr)]


class Replay:
    """A loader of given batches."""

    def __init__(self, batches: list[Batch]):
        self.batches = batches

    def epoch(self, plan, start_batch=0):
        return iter(self.batches[start_batch:])


def make_rule(steps: int, batch_size: int = 6, flops: float = 1.0, **changes) -> StepRule:
    return StepRule(Budget("steps", steps, steps), batch_size, changes.pop("precision", FP32), {None: flops}, **changes)


def make_state(model, num_samples: int, plan: EpochPlan | None = None) -> State:
    return State(model, sgd(model), ImportanceTable(num_samples), Ledger(num_samples), plan=plan)


def test_a_step_is_gradient_descent_on_the_weighted_loss():
    weights = torch.tensor([0.5, 1.5, 1.0, 1.0, 2.0, 0.0])
    model, batch = make_model(), make_batch(weights=weights)
    logits = model(batch.images)
    loss = (torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none") * weights).mean()
    expected = model[2].weight - 0.1 * torch.autograd.grad(loss, model[2].weight)[0]
    trained, scores = train_step(model, sgd(model), batch, FP32)
    assert trained is batch
    assert torch.allclose(model[2].weight, expected, atol=1e-6)
    for mine, wanted in zip(scores, sample_scores(logits.detach(), batch.labels), strict=True):
        assert torch.equal(mine, wanted)
        assert not mine.requires_grad


def test_scores_of_a_mixed_batch_are_per_partner_and_credited_by_share():
    partners = torch.tensor([[i, (i + 1) % 6] for i in range(6)])
    batch = make_batch(mix=Mix(partners, torch.tensor([0.75, 0.25])))
    state = make_state(make_model(), 6, EpochPlan(np.arange(6)))
    with torch.no_grad():
        logits = state.model(batch.images)
    list(train_epoch(state, Replay([batch]), make_rule(1)))
    losses = sample_scores(logits, batch.labels[partners]).loss
    assert state.loss_sum.item() == pytest.approx((losses * batch.mix.shares).sum().item(), rel=1e-6)
    snapshot = state.table.snapshot()
    assert snapshot.visits.tolist() == [1.0] * 6
    assert snapshot.loss[1] == pytest.approx((0.75 * losses[1, 0] + 0.25 * losses[0, 1]).item(), rel=1e-5)


def test_an_epoch_closed_early_stands_behind_a_whole_step_and_goes_on():
    batches = [make_batch(seed=seed)._replace(ids=torch.arange(6) + 6 * seed) for seed in range(4)]
    whole, parts = (make_state(make_model(), 24, EpochPlan(np.arange(24))) for _ in range(2))
    rule = make_rule(4, flops=2.0)
    list(train_epoch(whole, Replay(batches), rule))
    steps = train_epoch(parts, Replay(batches), rule)
    next(steps), next(steps)
    steps.close()
    assert (parts.batch, parts.ledger.steps, parts.ledger.samples) == (2, 2, 12)
    assert parts.ledger.visits.tolist() == [1] * 12 + [0] * 12
    assert parts.ledger.train_seconds > 0
    list(train_epoch(parts, Replay(batches), rule))
    assert torch.equal(parts.model[2].weight, whole.model[2].weight)
    assert torch.equal(parts.loss_sum, whole.loss_sum)
    assert parts.ledger.flops == whole.ledger.flops == 48


def test_smaller_images_where_asked():
    model, batch, sides = make_model(), make_batch(), []
    model.register_forward_pre_hook(lambda module, args: sides.append(args[0].shape[2:]))
    train_step(model, sgd(model), batch, FP32, side=4)
    train_step(model, sgd(model), batch, FP32, side=8)
    assert sides == [(4, 4), (8, 8)]
    train_step(model, sgd(model), batch._replace(images=batch.images[:, :, :, :6]), FP32, side=8)
    assert sides[-1] == (8, 8), "of images that are not square, too"


@pytest.mark.parametrize(
    ("shape", "given", "sides"),
    [
        ((32, 32), None, (24, 24, 32)),
        ((96, 96), None, (72, 72, 96)),
        ((20, 20), None, (16, 16, 20)),
        ((16, 16), None, ()),
        ((32, 48), None, ()),
        ((96, 96), (32, 64), (32, 64)),
        ((96, 96), (), ()),
    ],
)
def test_sides_follow_the_size_of_the_images(shape, given, sides):
    assert choose_image_sizes(Config(size_schedule=given), *shape) == sides


def test_sides_share_the_run_equally():
    rule = make_rule(7, size_schedule=(20, 24, 32))
    assert [rule.image_size(step / 7) for step in range(7)] == [20, 20, 20, 24, 24, 32, 32]
    assert rule.image_size(1) == 32
    assert [make_rule(100, size_schedule=(8, 9, 10, 11, 12)).image_size(step / 100) for step in (19, 20, 59, 60)] == [
        8,
        9,
        10,
        11,
    ]
    assert make_rule(7).image_size(0.5) is None


def test_rates_fall_to_zero_over_the_steps_of_the_budget():
    rule = make_rule(10)
    rates = [rule.rate(step / 10, 0.5) for step in range(11)]
    assert rates[0] == 0.5
    assert rates[10] == 0
    assert np.allclose(np.diff(rates), -0.05)


def test_rates_of_the_reference():
    total = 200 * (15_000 // 128)
    rule, table = make_rule(total, arazo=True, final_lr=1e-6), np.linspace(0.1, 1e-6, total)
    steps = (0, 1, 117, total - 1)
    assert [rule.rate(step / total, 0.1) for step in steps] == pytest.approx([table[step] for step in steps], rel=1e-9)
    assert rule.rate(1, 0.1) == 1e-6


def test_every_group_falls_from_its_own_rate():
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    groups = [{"params": [a], "base_lr": 1.0}, {"params": [b], "base_lr": 0.2}]
    optimizer, rule = torch.optim.SGD(groups, lr=1), make_rule(4)
    assert rule.set_rates([optimizer], 0.25) == 0.75
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.75, 0.15])
    rule.set_rates([optimizer], 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.1])


def test_evaluation_counts_every_sample_and_leaves_the_model_as_it_was():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), make_model()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [make_batch(5, seed=1), make_batch(2, seed=2)]
    result = evaluate(model, batches, FP32, CPU)
    logits = torch.cat([model.eval()(batch.images) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert result.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result.accuracy_tta is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert evaluate(model.train(), batches, FP32, CPU, tta=True).accuracy_tta is not None
    assert model.training
    with pytest.raises(ValueError, match="holds no samples"):
        evaluate(model, [], FP32, CPU)


def test_tta_of_a_model_that_does_not_care_is_the_plain_answer():
    images = make_batch().images

    def constant(x):
        return torch.ones(len(x), 4) * torch.arange(4.0)

    assert torch.allclose(tta_logits(constant, images), constant(images))


def test_tta_sees_nine_shifts_and_their_mirror_images():
    seen = []
    images = torch.arange(16.0).reshape(1, 1, 4, 4)

    def spy(x):
        seen.append(x[0, 0])
        return x.flatten(1)[:, :1]

    logits = tta_logits(spy, images)
    assert logits.item() == pytest.approx(sum(view[0, 0].item() for view in seen) / 18)
    assert len({tuple(view.flatten().tolist()) for view in seen}) == 18
    assert all(torch.equal(mirrored, view.flip(1)) for view, mirrored in zip(seen[::2], seen[1::2], strict=True))
    down_right, itself, up_left = seen[0], seen[8], seen[16]
    assert torch.equal(itself, images[0, 0])
    assert torch.equal(down_right[1:, 1:], images[0, 0][:3, :3])
    assert torch.equal(up_left[:3, :3], images[0, 0][1:, 1:])


def test_tta_of_a_model_that_knows_mirror_images():
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = build_model("rebarnet", 10, generator=torch.Generator().manual_seed(0), width=0.25).eval()
    assert model.knows_mirror_images
    short = tta_logits(model, images)
    assert torch.allclose(
        short, tta_logits(lambda x: model(x), images), atol=1e-5
    )  # a function tells nothing of itself


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_device():
    device = torch.device("cuda")
    model = make_model().to(device)
    batch = Batch(*(value if value is None else value.to(device) for value in make_batch()))
    state = State(model, sgd(model), ImportanceTable(6, device), Ledger(6), plan=EpochPlan(np.arange(6)))
    state.loss_sum = state.loss_sum.to(device)
    steps = train_epoch(state, Replay([batch] * 3), make_rule(3, precision=choose_precision("auto", device)))
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        next(steps), next(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
