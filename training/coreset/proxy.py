"""Small networks trained on the whole training set for a while, and what they then say about each of its samples.

Knows how a proxy is trained and asked; must not know which samples are chosen by its answers.
"""

import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.checkpoint import State
from training.config import Config
from training.coreset.file import Cost
from training.coreset.scores import Answer, ForgettingCounts
from training.data import normalise, open_loader, warm_up, whole_split
from training.ledger import count_flops
from training.loop import train_epoch
from training.setup import Job, assemble


class Proxy(NamedTuple):
    """A trained network: `job` and `state` as in a run, the forgetting events of its training, FLOPs of a forward pass
    per sample."""

    job: Job
    state: State
    forgotten: ForgettingCounts
    forward_flops: float


def train_proxy(config: Config, say: Callable[[int], None] = lambda num_epochs: None) -> tuple[Proxy, Cost]:
    """Train by these settings, without a folder, an evaluation or a checkpoint.

    Args:
        say: is told how many epochs are done, after each.

    Raises:
        ValueError: the settings or the data lack something, or training diverged.
    """
    job, state = assemble(config)
    dataset = job.train_loader.dataset
    labels = torch.from_numpy(dataset.labels.copy()).to(job.device)
    forgotten, last = ForgettingCounts(dataset.num_samples, job.device), {}
    hook = state.model.register_forward_hook(lambda model, images, logits: last.update(logits=logits.detach()))
    while not job.rule.budget.is_spent(state.ledger):
        with state.ledger.clock("train"):
            state.plan = job.scheduler.plan(state.epoch)
            ids = torch.from_numpy(state.plan.ids.copy()).to(job.device)
        with closing(train_epoch(state, job.train_loader, job.rule)) as steps:
            for batch_B, _ in zip(ids.split(config.batch_size), steps, strict=True):
                forgotten.see(batch_B, last["logits"].argmax(dim=1) == labels[batch_B])
        state.table.snapshot()  # refuses scores that are not finite
        state.epoch, state.batch, state.plan = state.epoch + 1, 0, None
        say(state.epoch)
    hook.remove()
    height, width, channels = job.image_shape
    forward, both = count_flops(state.model, (channels, height, width))
    samples, seconds = state.ledger.samples, state.ledger.train_seconds
    cost = Cost(samples, samples, samples * forward, samples * (both - forward), seconds)
    return Proxy(job, state, forgotten, forward), cost


@torch.inference_mode()
def ask(proxy: Proxy, score: Callable[[Answer], Tensor]) -> tuple[np.ndarray, Cost]:
    """One forward pass, in evaluation mode, over the training set as it is.

    Args:
        score: float32 [B, ...] of the answers to a batch.

    Returns:
        the scores in the order of the ids, [N, ...], and what the pass took.
    """
    job, state = proxy.job, proxy.state
    config, num_samples = job.config, job.manifest.splits["train"].num_samples
    loader = open_loader(config, job.device, "train", normalise(config, job.manifest), config.batch_size)
    warm_up(loader, config.batch_size)
    head, given = state.model.head, {}
    hook = head.register_forward_pre_hook(lambda _, inputs: given.update(features=inputs[0]))
    start = time.perf_counter()
    state.model.eval()
    scores = []
    for batch in loader.epoch(whole_split(num_samples)):
        with job.precision.autocast(job.device):
            logits = state.model(batch.images)
        scores.append(score(Answer(logits.float(), batch.labels, given["features"], head.bias is not None)))
    values = torch.cat(scores).cpu().numpy()
    hook.remove()
    seconds = time.perf_counter() - start
    if not np.isfinite(values).all():
        raise ValueError("the proxy has diverged, its scores are not finite: train it for more or fewer --epochs")
    return values, Cost(num_samples, 0, num_samples * proxy.forward_flops, 0.0, seconds)
