"""The methods that choose within a batch: what each remembers, and what it makes of the next batch.

Knows the four methods and how long they wait. The mathematics is in `selection`; who makes passes and steps, and pays
for them, is the caller.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from loaders.backends.transfer import sent
from loaders.types import Batch, EpochPlan
from training.config import Config
from training.losses import sample_losses
from training.machine.distributed import Ranks
from training.methods import batch_ops, selection
from training.methods.batch_memory import Memory

NAMES = ("selective-backprop", "ordered-sgd", "grad-norm", "random-batch")
KEEP_IN_SECONDS = 1 / 3
"""Share that is kept where neither an option nor the budget says one."""

LOOK_EVERY = 10
"""Steps between two looks at tau, so that the host does not wait for the device each step."""


class Offer(NamedTuple):
    """A batch that may be trained on: number `index` of a rank's `plan`; `score` gives its logits, at a price."""

    batch: Batch
    plan: EpochPlan
    index: int
    score: Callable[[Batch], Tensor]


@dataclass(frozen=True)
class BatchRule:
    """A method and its options.

    Attributes:
        name: one of NAMES.
        batch_size: images of a step, on this rank.
        keep: share of the images that stay; None lets ordered-sgd follow the training accuracy.
        presample: images that grad-norm scores for each that it draws.
        threshold: of tau, from which on grad-norm draws.
        label_smoothing: of the loss.
        arazo: selective backprop as in the reference: all of the first epoch is trained on, and percentiles are strict.
    """

    name: str
    batch_size: int
    keep: float | None = None
    presample: int = 3
    threshold: float = 2.0
    label_smoothing: float = 0.0
    arazo: bool = False

    @property
    def makes_passes(self) -> bool:
        """Whether there are passes for scores alone."""
        return self.name in ("selective-backprop", "grad-norm")

    @property
    def steps_each_batch(self) -> bool:
        """Whether each batch of a plan is one step."""
        return self.name == "ordered-sgd"

    def choose(self, memory: Memory, offer: Offer) -> Batch | None:
        """What the next step trains on, or None when no whole batch is together yet."""
        return {
            "selective-backprop": _selective_backprop,
            "random-batch": _random_batch,
            "grad-norm": _grad_norm,
            "ordered-sgd": lambda rule, memory, offer: offer.batch,
        }[self.name](self, memory, offer)

    def narrow(self, memory: Memory, batch: Batch, logits_BC: Tensor, losses_B: Tensor) -> Tensor | None:
        """Of a step's own forward pass, the positions whose losses are descended on; None is all."""
        if self.name == "grad-norm" and not memory.is_drawing:
            _watch(memory, selection.gradient_norms(logits_BC, batch_ops.own(batch), self.label_smoothing))
        if self.name != "ordered-sgd":
            return None
        labels_B = batch_ops.main_samples(batch)[1]
        memory.hits[0] += (logits_BC.argmax(1) == labels_B).sum()
        memory.hits[1] += len(labels_B)
        q = self.num_largest(memory)
        return None if q == self.batch_size else selection.largest(losses_B, q)

    def describe(self, memory: Memory) -> dict[str, float]:
        """What decides from here on, for the record of an epoch; the host waits for it."""
        return {
            "selective-backprop": lambda: {"remembered": len(memory.history)},
            "ordered-sgd": lambda: {"train_accuracy": memory.accuracy, "num_largest": self.num_largest(memory)},
            "grad-norm": lambda: {"tau": memory.tau.item(), "is_drawing": int(memory.is_drawing)},
            "random-batch": dict,
        }[self.name]()

    def num_largest(self, memory: Memory) -> int:
        """q of ordered-sgd."""
        if self.keep is None:
            return selection.num_largest(self.batch_size, memory.accuracy)
        return max(1, round(self.keep * self.batch_size))


def make_batch_rule(config: Config, ranks: Ranks = Ranks()) -> BatchRule | None:  # noqa: B008 (frozen)
    """The rule that the settings name, or None for a method that chooses once an epoch.

    Raises:
        ValueError: an option out of bounds, or a method that one process must do alone.
    """
    name, keep = config.method, config.keep
    if name not in NAMES:
        return None
    if name != "ordered-sgd" and not ranks.is_alone:
        raise ValueError(
            f"method {name} gathers images from several batches in one process: "
            f"start it without torchrun, or choose ordered-sgd or a method that chooses once an epoch"
        )
    if keep is not None and not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, got {keep:g}")
    if config.presample < 1:
        raise ValueError(f"presample must be at least 1, got {config.presample}")
    if keep is None and name in ("selective-backprop", "random-batch"):
        keep = KEEP_IN_SECONDS if config.budget_unit == "seconds" else config.budget
        if keep == 1:
            raise ValueError(f"method {name} keeps a share of each batch: give --keep or a --budget below 1")
    threshold = (config.presample + 3) / 3 if config.tau_threshold is None else config.tau_threshold
    size, is_arazo = config.batch_size // ranks.world_size, config.compat == "arazo"
    return BatchRule(name, size, keep, config.presample, threshold, config.label_smoothing, is_arazo)


def offered_fraction(config: Config) -> float:
    """Share of the training set that one epoch offers: all of it where a share of each batch stays, else the budget."""
    is_sieve = config.method in ("selective-backprop", "random-batch")
    return 1.0 if is_sieve and config.budget_unit == "samples" else config.draw_fraction


def _selective_backprop(rule: BatchRule, memory: Memory, offer: Offer) -> Batch | None:
    batch = batch_ops.own(offer.batch)
    num, device = len(batch.images), batch.images.device
    losses_B = sample_losses(offer.score(batch), batch.labels, batch.mix, rule.label_smoothing)
    memory.history = selection.remember(memory.history, losses_B)
    is_first = offer.plan.epoch == 0 if rule.arazo else len(memory.history) < selection.HISTORY
    if is_first:
        positions = torch.arange(num, device=device)
    else:
        bits = selection.random_bits(offer.plan, offer.index * rule.batch_size, num)
        uniforms, beta = selection.uniforms(bits, device), 1 / rule.keep - 1
        positions = selection.keep_by_loss(losses_B, memory.history, beta, uniforms, rule.arazo)
    memory.passed_over = 0 if len(positions) else memory.passed_over + num
    if memory.passed_over * rule.keep > 100:
        raise ValueError(
            f"selective-backprop has kept none of the last {memory.passed_over:,} images, as their losses are all "
            "equal: lower the learning rate, or choose another method"
        )
    return _gather(rule, memory, batch_ops.take(batch, positions))


def _random_batch(rule: BatchRule, memory: Memory, offer: Offer) -> Batch | None:
    num = len(offer.batch.images)
    bits = selection.random_bits(offer.plan, offer.index * rule.batch_size, num)
    positions = selection.random_subset(bits, selection.even_fraction(rule.keep, num, offer.index))
    positions = sent(torch.from_numpy(positions), offer.batch.images.device)
    return _gather(rule, memory, batch_ops.take(offer.batch, positions))


def _gather(rule: BatchRule, memory: Memory, chosen: Batch) -> Batch | None:
    """Let the chosen ones wait until a whole batch is together."""
    whole, memory.held = batch_ops.split(batch_ops.join(memory.held, chosen), rule.batch_size)
    return whole


def _grad_norm(rule: BatchRule, memory: Memory, offer: Offer) -> Batch | None:
    if memory.held is None and memory.steps % LOOK_EVERY == 0:
        memory.is_drawing = bool(memory.tau > rule.threshold)
    if not memory.is_drawing:
        return offer.batch
    batch = batch_ops.own(offer.batch)
    num, device = len(batch.images), batch.images.device
    norms_B = selection.gradient_norms(offer.score(batch), batch, rule.label_smoothing)
    copies = batch_ops.take(batch, torch.arange(num, device=device))
    memory.norms = norms_B if memory.held is None else torch.cat([memory.norms, norms_B])
    memory.held = batch_ops.join(memory.held, copies)
    if len(memory.norms) < rule.presample * rule.batch_size:
        return None
    uniforms = selection.uniforms(selection.random_bits(offer.plan, offer.index * rule.batch_size, num), device)
    chosen = batch_ops.take(memory.held, *selection.draw_by_norm(memory.norms, uniforms))
    _watch(memory, memory.norms)
    memory.held = memory.norms = None
    return chosen


def _watch(memory: Memory, norms: Tensor) -> None:
    """tau <- 0.9 tau + 0.1 that of these norms, from 0 on (Katharopoulos and Fleuret 2018, algorithm 1)."""
    memory.tau = 0.9 * memory.tau + 0.1 * selection.tau(norms)
    memory.steps += 1
