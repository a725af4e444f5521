"""Proxy filter: its choice is the mask of a small network trained alone on the same views, and what it costs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from loaders.types import EpochPlan
from tests.training.methods.toy import (
    BATCH_SIZE,
    FLOPS,
    IMAGES,
    LABELS,
    NUM,
    NUM_BATCHES,
    SMALL_FLOPS,
    Linear,
    made,
    make_run,
    train,
    visits,
)
from training.budget import Budget
from training.ledger import count_flops
from training.loop import train_epoch
from training.models.build import build_model
from training.report.folder import read_summary
from training.run import main


def masks_of_a_small_network(ids: np.ndarray, keep: int, every: int, rates) -> list[list[int]]:
    """The two-phase way: train the small network first, on one batch of so many, and write down whom it chose."""
    network, masks = Linear(), []
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    for number, batch in enumerate(ids.reshape(-1, BATCH_SIZE)):
        batch = torch.from_numpy(batch)
        losses = F.cross_entropy(network(IMAGES[batch]), LABELS[batch], reduction="none")
        chosen = losses.argsort(descending=True)[:keep]
        masks.append(batch[chosen].tolist())
        if number % every == 0:
            optimizer.param_groups[0]["lr"] = rates(number)
            optimizer.zero_grad()
            losses[chosen].mean().backward()
            optimizer.step()
    return masks


def test_training_beside_equals_replaying_the_choice_of_a_run_before():
    """The same views in the same order: there is nothing to replay that is not there already."""
    options = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    run = make_run("proxy-filter", lr=0.3, budget=Budget("steps", 10**9, None), keep=0.25, proxy_every=3, **options)
    ids = np.random.default_rng(0).permutation(NUM)
    run.plan, chosen, filtered = EpochPlan(ids), [], run.method.filter

    def watched(batch, num, score):
        positions = filtered(batch, num, score)
        chosen.append(batch.ids[positions].tolist())
        return positions

    run.method.filter = watched
    base_lr = run.method.optimizers[0].param_groups[0]["base_lr"]
    for _ in train_epoch(run):
        pass
    wanted = masks_of_a_small_network(ids, BATCH_SIZE // 4, 3, lambda number: run.schedule.rate(0.0, base_lr))
    assert chosen == wanted
    assert np.flatnonzero(visits(run)).tolist() == sorted(i for mask in wanted for i in mask)


def test_its_passes_are_paid_and_leave_the_large_network_alone():
    run = make_run("proxy-filter", lr=0.05, keep=0.25)
    train(run)
    steps = NUM_BATCHES // 4
    assert run.ledger.steps == steps
    assert run.model.passes == {True: steps * BATCH_SIZE, False: 0}
    assert run.method.proxy.passes == {True: NUM, False: 0}
    learned = NUM // 4
    small = SMALL_FLOPS.forward * (NUM - learned) + SMALL_FLOPS.step * learned
    assert run.ledger.flops == pytest.approx(FLOPS.step * steps * BATCH_SIZE + small)
    assert run.ledger.forward_samples == steps * BATCH_SIZE + NUM
    assert visits(run).sum() == NUM / 4


def test_a_run_with_a_real_small_network(quick_args, tmp_path, capsys):
    """Its passes are charged by its own FLOPs; a small network that is not small is refused."""
    out, settings = tmp_path / "run", {"method": "proxy-filter", "model": "resnet8", "budget": 0.4, "epochs": 1}
    assert main(quick_args(**settings, eval_every=0, width=1.0, proxy_width=0.5, out=out)) == 0
    summary, generator = read_summary(out), torch.Generator().manual_seed(0)
    large, small = (
        count_flops(build_model("resnet8", 10, generator=generator, width=width), (3, 32, 32)) for width in (1.0, 0.5)
    )
    passed, learned = (summary[f"{way}_samples"] - summary["samples"] for way in ("forward", "backward"))
    assert 0 < learned < passed
    paid = summary["samples"] * large.step + (passed - learned) * small.forward + learned * small.step
    assert summary["flops"] == pytest.approx(paid)
    assert main(quick_args(**settings, width=1.0, proxy_width=0.95, out=tmp_path / "b")) == 2
    assert "lower --proxy_width" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": 1.5}, r"keep must be above 0 and at most 1, got 1\.5"),
        ({"proxy_width": 1.0}, "proxy_width is above 0 and below 1, got 1"),
        ({"proxy_every": 0}, "proxy_every is at least 1, got 0"),
    ],
)
def test_options_that_cannot_work(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made("proxy-filter", **changes)
