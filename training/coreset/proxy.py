"""Small networks, trained for a few epochs, and their outputs for each sample of the training set."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from loaders.types import EpochPlan
from training.config import Config
from training.coreset.file import Cost
from training.coreset.scores import Answer, ForgettingCounts
from training.data.augmentation import normalise
from training.data.loading import open_loader, warm_up, whole_split
from training.loop import end_epoch, plan_epoch, train_epoch
from training.models.build import features_of, last_linear
from training.setup import set_up
from training.state import Run


class Proxy(NamedTuple):
    """A trained network: its run, and the forgetting events of its training."""

    run: Run
    forgotten: ForgettingCounts


def train_proxy(
    config: Config, say: Callable[[int], None] = lambda num_epochs: None, is_asked: bool = True
) -> tuple[Proxy, Cost]:
    """Train by these settings, without a folder, an evaluation or a checkpoint.

    Args:
        say: is told how many epochs are done, after each.
        is_asked: whether the network will be asked (`ask`): one that cannot answer is refused before it is trained.

    Raises:
        ValueError: the settings, the data or the network lack something, or training diverged.
    """
    run = set_up(config)
    if is_asked:
        last_linear(run.model)
    dataset = run.data.train_loader.dataset
    labels = torch.from_numpy(dataset.labels.copy()).to(run.device)
    forgotten, last = ForgettingCounts(dataset.num_samples, run.device), {}
    hook = run.model.register_forward_hook(lambda model, images, logits: last.update(logits=logits.detach()))
    while not run.is_over:
        ids = torch.from_numpy(np.array(plan_epoch(run).ids)).to(run.device)
        with closing(run.ledger.timed("train", train_epoch(run))) as steps:
            for batch_B, _ in zip(ids.split(run.config.batch_size), steps, strict=True):
                forgotten.see(batch_B, last["logits"].argmax(dim=1) == labels[batch_B])
        end_epoch(run)
        run.next_epoch()
        say(run.epoch)
    hook.remove()
    samples, flops = run.ledger.samples, _flops(run)
    cost = Cost(samples, samples, samples * flops[0], samples * flops[1], run.ledger.train_seconds)
    return Proxy(run, forgotten), cost


@torch.inference_mode()
def ask(proxy: Proxy, score: Callable[[Answer], Tensor], ids: np.ndarray | None = None) -> tuple[np.ndarray, Cost]:
    """One forward pass, in evaluation mode, over the training set as it is.

    Args:
        score: float32 [B, ...] of the answers to a batch.
        ids: int64 [M], the samples that are asked for; None is all of them.

    Returns:
        the scores in the order of the ids, [M, ...], and what the pass took.
    """
    run = proxy.run
    config = run.config
    plan = whole_split(run.data.num_samples) if ids is None else EpochPlan(ids)
    num_samples = len(plan)
    loader = open_loader(config, run.device, "train", normalise(config, run.data.manifest), config.batch_size)
    warm_up(loader, config.batch_size)
    has_bias = last_linear(run.model).bias is not None
    start = time.perf_counter()
    run.model.eval()
    scores = []
    with features_of(run.model) as latest:
        for batch in loader.epoch(plan):
            with run.precision.autocast(run.device):
                logits = run.model(batch.images)
            scores.append(score(Answer(logits.float(), batch.labels, latest["features"], has_bias)))
    values = torch.cat(scores).cpu().numpy()
    seconds = time.perf_counter() - start
    if not np.isfinite(values).all():
        raise ValueError("the proxy has diverged, its scores are not finite: train it for more or fewer --epochs")
    return values, Cost(num_samples, 0, num_samples * _flops(run)[0], 0.0, seconds)


def _flops(run: Run) -> tuple[float, float]:
    """FLOPs per sample of a forward pass and of a backward pass, at the images' own size."""
    forward, step = run.flops[None]
    return forward, step - forward
