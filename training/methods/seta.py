"""SeTa: a random subset, grouped by loss, of which a window that slides from easy to hard is trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np

from loaders.order.permutation import permutation
from loaders.order.policies import Policy, Preference
from loaders.order.policy_parts import fill_unseen
from loaders.order.rng import POLICY, fold_in, hash_array
from loaders.order.rounding import floor_fraction
from loaders.order.scheduler import IndexScheduler
from loaders.types import Snapshot
from training.methods.base import Context, Method


@dataclass(frozen=True)
class SeTaOptions:
    """how much is left out

    Args:
        prune_ratio: fraction of all samples that is left out at random, in each epoch anew
        num_groups: number of groups of similar loss that the rest is divided into
        window_fraction: fraction of these groups that an epoch trains on
        prune_until: fraction of the budget from which on all groups are trained on
    """

    prune_ratio: float = 0.1
    num_groups: int = 5
    window_fraction: float = 0.9
    prune_until: float = 0.875

    def __post_init__(self):
        if not 0 <= self.prune_ratio < 1:
            raise ValueError(f"prune_ratio is at least 0 and below 1, got {self.prune_ratio:g}")
        if self.num_groups < 1:
            raise ValueError(f"num_groups is at least 1, got {self.num_groups}")
        if not 0 < self.window_fraction <= 1:
            raise ValueError(f"window_fraction is above 0 and at most 1, got {self.window_fraction:g}")
        if not 0 <= self.prune_until <= 1:
            raise ValueError(f"prune_until is at least 0 and at most 1, got {self.prune_until:g}")


class SeTa(Method):
    """An epoch is a window of loss groups of a random subset; the window slides from easy to hard, again and again
    (Zhou, Gao and Wang, "Scale efficient training for large datasets", CVPR 2025)."""

    Options = SeTaOptions
    even_epochs = False
    own_length = True

    def __init__(self, options: SeTaOptions, context: Context):
        self.options, self.seed, self.batch_size = options, context.config.seed, context.config.batch_size
        super().__init__(context.scheduler_of_own_length(self.policy_of(0, is_sliding=False)))

    def policy_of(self, epoch: int, is_sliding: bool) -> Policy:
        """The policy of an epoch: its own subset, and its place of the window, which is on all groups at first."""
        options = self.options
        groups = slice(0, options.num_groups)
        if is_sliding and epoch > 0:
            groups = window(epoch, options.num_groups, options.window_fraction)
        return partial(
            seta,
            key=fold_in(self.seed, POLICY, epoch),
            prune_ratio=options.prune_ratio,
            num_groups=options.num_groups,
            groups=groups,
            at_least=self.batch_size,
        )

    def scheduler_of(self, epoch: int, progress: float) -> IndexScheduler:
        policy = self.policy_of(epoch, is_sliding=progress < self.options.prune_until)
        return dataclasses.replace(self.scheduler, policy=policy)


def window(epoch: int, num_groups: int, fraction: float) -> slice:
    """The groups, of which 0 is the easiest, that an epoch trains on."""
    size = max(1, round(num_groups * fraction))
    first = epoch % (num_groups - size + 1)
    return slice(first, first + size)


def seta(
    snapshot: Snapshot, key: int, prune_ratio: float, num_groups: int, groups: slice, at_least: int = 1
) -> Preference:
    """Chance one for the samples of a random subset whose loss is in these groups of it, none for the others.

    A sample that was never visited counts as the largest loss. Where the losses have fewer values than there are
    groups, the whole subset is taken.

    Args:
        snapshot: the scores.
        key: of the random subset, and of the groups.
        prune_ratio: fraction of the samples that is not in the subset.
        num_groups: number of groups (k-means of the losses).
        groups: which of them, in ascending order of their mean loss.
        at_least: samples that are to be drawn; where the groups have fewer, the next easier ones are taken as well.
    """
    losses = fill_unseen(snapshot.loss, snapshot.visits > 0)
    num = len(losses)
    subset = permutation(key, num, 0, max(min(num, at_least), floor_fraction(num, 1 - prune_ratio)))
    group = group_by_loss(losses[subset], num_groups, fold_in(key, 1))
    first = groups.start
    while first > 0 and np.count_nonzero((first <= group) & (group < groups.stop)) < at_least:
        first -= 1
    chosen = subset[(first <= group) & (group < groups.stop)]
    if len(chosen) < min(num, at_least):
        chosen = subset
    weights = np.zeros(num, np.float32)
    weights[chosen] = 1
    return Preference(weights, num_draws=len(chosen))


def group_by_loss(losses_M: np.ndarray, num_groups: int, key: int) -> np.ndarray:
    """The group of each loss by k-means, int64 [M]: 0 has the smallest mean; all are 0 where there is less to divide.

    In one dimension a group is an interval, so that a step of Lloyd's algorithm on sorted losses is a search of the
    middles between the means. The first means are k-means++ (Arthur and Vassilvitskii, SODA 2007).
    """
    ordered = np.sort(losses_M).astype(np.float64)
    if num_groups == 1 or len(np.unique(ordered)) < num_groups:
        return np.zeros(len(ordered), np.int64)
    means = np.sort(_first_means(ordered, (hash_array(key, np.arange(num_groups)) >> np.uint64(11)) * 2.0**-53))
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    for _ in range(300):
        ends = np.concatenate(([0], np.searchsorted(ordered, _middles(means), side="right"), [len(ordered)]))
        sizes = np.diff(ends)
        moved = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), means)
        if np.array_equal(moved, means):
            break
        means = moved
    return np.searchsorted(_middles(means), losses_M)


def _middles(means: np.ndarray) -> np.ndarray:
    return (means[1:] + means[:-1]) / 2


def _first_means(values_M: np.ndarray, uniforms_K: np.ndarray) -> np.ndarray:
    """Values drawn with a chance proportional to the squared distance to the nearest one drawn before: [K]."""
    means, distances = [], np.ones(len(values_M))
    for uniform in uniforms_K:
        ends = np.cumsum(distances)
        place = np.searchsorted(ends, uniform * ends[-1], side="right")
        means.append(values_M[min(place, len(values_M) - 1)])
        distances = np.minimum(distances if len(means) > 1 else np.inf, (values_M - means[-1]) ** 2)
    return np.array(means)
