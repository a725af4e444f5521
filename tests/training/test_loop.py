"""One step: its loss, its scores, its rates; and what evaluation computes."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loaders.importance import ImportanceTable
from loaders.order.scheduler import IndexScheduler
from loaders.scoring import scores as sample_scores
from loaders.types import Batch, EpochPlan, Mix
from tests.no_waiting import no_waiting
from training.budget import Budget
from training.config import Config
from training.data.augmentation import choose_image_sizes
from training.evaluate.accuracy import evaluate, tta_logits
from training.ledger import Flops, Ledger
from training.loop import end_epoch, train_epoch, train_step
from training.machine.distributed import Ranks
from training.machine.precision import choose_precision
from training.machine.signals import Stopped, StopRequest
from training.methods.base import Method
from training.models.build import build_model
from training.schedules import Schedule
from training.setup import average_of
from training.state import Run
from training.step.passes import forward

CPU, META = torch.device("cpu"), torch.device("meta")
FP32 = choose_precision("fp32", CPU)
SIZE = 6


def make_batch(size: int = SIZE, mix: Mix | None = None, weights=None, seed: int = 0, start: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.arange(size) % 4, start + torch.arange(size), weights, mix)


def make_batches(count: int) -> list[Batch]:
    return [make_batch(seed=k, start=SIZE * k) for k in range(count)]


def make_model() -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 4, device=META))
    model.to_empty(device="cpu")
    with torch.no_grad():
        model[2].weight.normal_(generator=torch.Generator().manual_seed(1))
        model[2].bias.zero_()
    return model


class Replay:
    """A loader of given batches."""

    def __init__(self, batches: list[Batch]):
        self.batches = batches

    def epoch(self, plan, start_batch=0):
        return iter(self.batches[start_batch:])


def make_run(
    batches: list[Batch],
    device: torch.device = CPU,
    method: type[Method] = Method,
    schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
    precision=FP32,
    clean: list[Batch] | None = None,
    **config,
) -> Run:
    """A run of one epoch over these batches, by SGD on a linear network."""
    model, num_samples = make_model().to(device), SIZE * len(batches)
    loaders = {"train_loader": Replay(batches), "clean_loader": Replay(batches if clean is None else clean)}
    return Run(
        config=Config(batch_size=SIZE, **{"label_smoothing": 0.0, **config}),
        ranks=Ranks(),
        stop=StopRequest(),
        device=device,
        precision=precision,
        data=SimpleNamespace(**loaders),
        method=method(IndexScheduler(num_samples, batch_size=SIZE)),
        budget=Budget("steps", len(batches), len(batches)),
        schedule=schedule,
        flops={size: Flops(1.0, 2.0) for size in (None, *schedule.sizes)},
        model=model,
        network=model,
        optimizers=[torch.optim.SGD([{"params": list(model.parameters()), "base_lr": 0.1}], lr=9.0)],
        scaler=torch.amp.GradScaler(device.type, enabled=False),
        average=average_of(model, schedule) if schedule.ema else None,
        table=ImportanceTable(num_samples, device),
        ledger=Ledger(),
        plan=EpochPlan(np.arange(num_samples)),
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )


def train(run: Run) -> Run:
    for _ in train_epoch(run):
        pass
    return run


def test_a_step_is_gradient_descent_on_the_weighted_loss():
    weights = torch.tensor([0.5, 1.5, 1.0, 1.0, 2.0, 0.0])
    batch = make_batch(weights=weights)
    run = make_run([batch])
    logits = run.model(batch.images)
    losses = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")
    weight = run.model[2].weight
    expected = weight - 0.1 * torch.autograd.grad((losses * weights).mean(), weight, retain_graph=True)[0]
    train_step(run, batch)
    assert torch.allclose(weight, expected, atol=1e-6)
    assert run.loss_sum.item() == pytest.approx(losses.sum().item(), rel=1e-6), "of the loss without weights"
    known = run.table.snapshot()
    for name, wanted in zip(("error", "loss", "el2n"), sample_scores(logits.detach(), batch.labels), strict=True):
        assert np.allclose(getattr(known, name), wanted, atol=1e-6), name


def test_a_step_smooths_the_labels_but_scores_without():
    plain, smooth = (train(make_run(make_batches(1), label_smoothing=s)) for s in (0.0, 0.2))
    assert not torch.equal(plain.model[2].weight, smooth.model[2].weight)
    assert torch.equal(plain.loss_sum, smooth.loss_sum)


def test_a_method_keeps_part_of_a_step_after_its_forward_pass():
    class Two(Method):
        """The samples 4 and 1."""

        def keep(self, batch, logits_BC, losses_B):
            return torch.tensor([4, 1])

    batch = make_batch()
    run = make_run([batch], method=Two)
    loss = torch.nn.functional.cross_entropy(run.model(batch.images[[4, 1]]), batch.labels[[4, 1]])
    weight = run.model[2].weight
    expected = weight - 0.1 * torch.autograd.grad(loss, weight)[0]
    train_step(run, batch)
    assert torch.allclose(weight, expected, atol=1e-6)
    assert run.table.snapshot().visits.tolist() == [0, 1, 0, 0, 1, 0]
    assert (run.trained, run.ledger.samples, run.ledger.backward_samples, run.ledger.flops) == (2, 2, 6, 12.0)


def test_a_method_may_gather_before_it_steps_and_pays_for_its_scoring():
    class Second(Method):
        """Scores every batch, and trains on each second one."""

        def select(self, batch, plan, index, score):
            assert not score(batch).requires_grad
            return batch if index % 2 else None

    run = make_run(make_batches(4), method=Second)
    assert [run.batch for _ in train_epoch(run)] == [1, 2, 3, 4]
    assert (run.ledger.steps, run.ledger.samples, run.ledger.forward_samples) == (2, 12, 12 + 24)
    assert run.ledger.flops == 12 * 2 + 24 * 1
    assert run.table.snapshot().visits.tolist() == ([0] * 6 + [1] * 6) * 2


def test_scores_of_a_mixed_batch_are_per_partner_and_credited_by_fraction():
    partners = torch.tensor([[i, (i + 1) % 6] for i in range(6)])
    batch = make_batch(mix=Mix(partners, torch.tensor([0.75, 0.25])))
    run = make_run([batch])
    with torch.no_grad():
        logits = run.model(batch.images)
    train(run)
    losses = sample_scores(logits, batch.labels[partners]).loss
    assert run.loss_sum.item() == pytest.approx((losses * batch.mix.shares).sum().item(), rel=1e-6)
    snapshot = run.table.snapshot()
    assert snapshot.visits.tolist() == [1.0] * 6
    assert snapshot.loss[1] == pytest.approx((0.75 * losses[1, 0] + 0.25 * losses[0, 1]).item(), rel=1e-5)


def test_an_epoch_closed_early_stands_behind_a_whole_step_and_goes_on():
    whole, parts = (make_run(make_batches(4)) for _ in range(2))
    train(whole)
    steps = train_epoch(parts)
    next(steps), next(steps)
    steps.close()
    assert (parts.batch, parts.ledger.steps, parts.ledger.samples) == (2, 2, 12)
    assert parts.table.snapshot().visits.tolist() == [1] * 12 + [0] * 12
    train(parts)
    assert torch.equal(parts.model[2].weight, whole.model[2].weight)
    assert torch.equal(parts.loss_sum, whole.loss_sum)
    assert parts.ledger.flops == whole.ledger.flops == 48


def test_an_epoch_ends_with_the_budget():
    run = make_run(make_batches(4))
    run.budget = Budget("steps", 3, 4)
    train(run)
    assert (run.batch, run.ledger.steps, run.is_over) == (3, 3, True)


def test_the_clean_end_begins_within_an_epoch():
    """The clean loader's batches are those of the same places, with other samples here to tell them apart."""
    clean = [make_batch(seed=9, start=18) for _ in range(4)]
    run = make_run(make_batches(4), clean=clean, schedule=Schedule(clean_fraction=0.5))
    train(run)
    assert run.batch == 4
    assert run.table.snapshot().visits.tolist() == [1] * 12 + [0] * 6 + [2] * 6


def test_the_end_of_an_epoch_reads_its_mean_loss():
    run = train(make_run(make_batches(2)))
    end_epoch(run)
    assert run.train_loss == pytest.approx(run.loss_sum.item() / 12)
    assert run.train_loss == pytest.approx(run.scores.loss.mean(), rel=1e-5)
    run.next_epoch()
    assert run.ledger.covered_samples == 12
    assert (run.epoch, run.batch, run.plan, run.trained, run.loss_sum.item()) == (1, 0, None, 0, 0.0)


def test_a_loss_that_is_not_finite_ends_the_run():
    run = make_run(make_batches(1))
    with torch.no_grad():
        run.model[2].bias.fill_(float("nan"))
    train(run)
    with pytest.raises(ValueError, match=r"training has diverged in epoch 1 \(summed loss nan\): lower the learning"):
        end_epoch(run)


def test_a_signal_stops_the_run_where_the_ranks_agree():
    run = make_run(make_batches(1))
    run.agree()
    run.stop.signal = 15
    with pytest.raises(Stopped, match="SIGTERM"):
        run.agree()


def test_smaller_images_where_asked():
    model, batch, sizes = make_model(), make_batch(), []
    model.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape[2:]))
    forward(model, batch.images, FP32, size=4)
    forward(model, batch.images, FP32, size=8)
    forward(model, batch.images, FP32)
    assert sizes == [(4, 4), (8, 8), (8, 8)]
    forward(model, batch.images[:, :, :, :6], FP32, size=8)
    assert sizes[-1] == (8, 8), "of images that are not square, too"


def test_a_run_sees_the_sizes_of_its_schedule():
    run, sizes = make_run(make_batches(4), schedule=Schedule(sizes=(4, 8))), []
    run.model.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape[2]))
    train(run)
    assert sizes == [4, 4, 8, 8]


@pytest.mark.parametrize(
    ("shape", "given", "sizes"),
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
def test_sizes_follow_those_of_the_images(shape, given, sizes):
    assert choose_image_sizes(Config(size_schedule=given), *shape) == sizes


def test_every_group_falls_from_its_own_rate():
    run, rates = make_run(make_batches(4)), []
    weight, bias = run.model[2].parameters()
    groups = [{"params": [weight], "base_lr": 1.0}, {"params": [bias], "base_lr": 0.2}]
    run.optimizers = [torch.optim.SGD(groups, lr=9)]
    for _ in train_epoch(run):
        rates.append([group["lr"] for group in run.optimizers[0].param_groups])
    assert np.allclose(rates, [[1.0, 0.2], [0.75, 0.15], [0.5, 0.1], [0.25, 0.05]])


def test_the_average_begins_with_the_first_weights_and_follows():
    run, expected = make_run(make_batches(3), schedule=Schedule(ema=0.9)), None
    for step, _ in enumerate(train_epoch(run)):
        weight = run.model[2].weight.detach().clone()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        assert torch.allclose(run.evaluated_model[2].weight, expected, atol=1e-6)
    assert not torch.equal(expected, run.model[2].weight)
    assert make_run(make_batches(1)).evaluated_model is not run.average


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
    full = tta_logits(lambda x: model(x), images)  # a function tells nothing of itself
    assert torch.allclose(short, full, atol=1e-5)


def on_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(value if value is None else value.to(device) for value in batch))


def on_meta(**changes) -> Run:
    """A run on the meta device: a tensor there has no values, so that whatever reads one raises an error."""
    unasked = SimpleNamespace(autocast=lambda device: nullcontext())  # there is no autocast for this device
    return make_run([on_device(batch, META) for batch in make_batches(3)], META, precision=unasked, **changes)


def test_no_step_reads_a_value_back_from_the_device():
    run = on_meta(schedule=Schedule(sizes=(4, 8), ema=0.9))
    train(run)
    assert (run.ledger.steps, run.trained) == (3, 18)


def test_reading_a_value_back_would_be_noticed():
    class Reading(Method):
        """Looks at a loss on the host."""

        def keep(self, batch, logits_BC, losses_B):
            return torch.arange(3) if losses_B[0] > 1 else None

    with pytest.raises(RuntimeError, match="meta"):
        train(on_meta(method=Reading))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_gpu():
    device = torch.device("cuda")
    batches = [on_device(batch, device) for batch in make_batches(3)]
    run = make_run(batches, device, precision=choose_precision("auto", device), schedule=Schedule(ema=0.9))
    steps = train_epoch(run)
    next(steps)
    with no_waiting():
        next(steps), next(steps)
    assert run.ledger.steps == 3
