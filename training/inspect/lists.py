"""Which images a person should look at: the lists of samples.html, each with the rule that it is made by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.inspect.table import Columns


class List(NamedTuple):
    """One list.

    Attributes:
        key: names it in links.
        title: for people.
        rule: what it holds, in words.
        ids: int64, the first of it, the most extreme before the others; near duplicates lie together.
        total: how many samples fulfil the rule, None where it ranks them all.
        missing: why there is no such list, in words; None where there is one.
    """

    key: str
    title: str
    rule: str
    ids: np.ndarray
    total: int | None = None
    missing: str | None = None


MOST_OF_A_GROUP = 8
"""So many near duplicates of one group are shown: data sets hold some images dozens of times."""
_NO_HISTORY = "The run left no history.u8, the errors of each epoch: runs of this version leave one."
_NONE = np.empty(0, np.int64)


def mislabelled(values: Columns, most: int) -> List:
    """Labels that are likely wrong, by `training.inspect.mislabelled`."""
    rule = (
        "The mean error over the run is unusual for the label, and the finished network holds another class at least "
        "half as likely. First where both are clearest. In clean data most of these are merely hard: the eye decides."
    )
    ids = _largest(values["mislabelled"], values["mislabelled"] > 0)
    return List("mislabelled", "Likely mislabelled", rule, ids[:most], len(ids))


def near_duplicates(values: Columns, most: int) -> List:
    """Groups of near duplicates, those whose labels disagree first, then the largest; of a large group a few."""
    rule = (
        "Nearly the same pixels but for brightness, mirroring or a shift of a few pixels. Groups with different labels "
        "come first: at most one of these labels is right."
    )
    group = values["duplicate_of"]
    ids = np.flatnonzero(group >= 0)
    _, row, size = np.unique(group[ids], return_inverse=True, return_counts=True)
    order = np.lexsort((ids, group[ids], -size[row], ~labels_differ(values)[ids]))
    parts = np.split(ids[order], np.flatnonzero(np.diff(group[ids[order]])) + 1)
    shown = np.concatenate([part[:MOST_OF_A_GROUP] for part in parts])
    if len(shown) > most and group[shown[most]] == group[shown[most - 1]]:  # the list's end cuts no group in two
        most = max(len(parts[0][:MOST_OF_A_GROUP]), int(np.argmax(group[shown] == group[shown[most]])))
    return List("duplicates", "Near duplicates", rule, shown[:most], len(ids))


def labels_differ(values: Columns) -> np.ndarray:
    """Whether a sample has a near duplicate with another label, bool [N]."""
    group, label = values["duplicate_of"], values["label"]
    ids = np.flatnonzero(group >= 0)
    is_odd = label[ids] != label[group[ids]]  # from the first of the group
    differ = np.zeros(len(group), bool)
    differ[ids] = np.isin(group[ids], group[ids[is_odd]])
    return differ


def never_learned(values: Columns, most: int) -> List:
    """Samples whose class was never the surest answer, in training or after it, the least likely label first."""
    rule = (
        "Visited in two epochs or more, the probability of the label never above one half in any of them, and the "
        "finished network guesses another class. First those whose label it holds least likely."
    )
    title = "Never learned"
    if "learned" not in values:
        return List("never-learned", title, rule, _NONE, missing=_NO_HISTORY)
    never = (values["epochs"] >= 2) & (values["learned"] == 0) & (values["guess"] != values["label"])
    ids = _largest(-values["p_label"], never)
    missing = None if (values["epochs"] >= 2).any() else "No image was visited in two epochs: train for longer."
    return List("never-learned", title, rule, ids[:most], len(ids), missing)


def most_forgotten(values: Columns, most: int) -> List:
    """Samples whose class was learned and lost again most often."""
    rule = (
        "The probability of the label rose above one half and fell back below it, most often. Such images lie between "
        "classes: the network changes its mind about them."
    )
    title = "Most forgotten"
    if "forgetting" not in values:
        return List("forgotten", title, rule, _NONE, missing=_NO_HISTORY)
    count = values["forgetting"]
    ids = _largest(count + np.nan_to_num(values["mean_error"]), count > 0)
    return List("forgotten", title, rule, ids[:most], len(ids))


def hardest(values: Columns, most: int) -> List:
    """Samples with the largest mean error over all their visits."""
    rule = "The largest mean error, 1 - p(label), over all visits. Wrong label or rare sight: the eye decides."
    error = values["mean_error"]
    return List("hardest", "Hardest", rule, _largest(error, ~np.isnan(error))[:most])


def all_lists(values: Columns, most: int) -> list[List]:
    """The lists in the order of the page; an image is shown by the first that names it, duplicates by theirs too."""
    lists = [mislabelled(values, most), near_duplicates(values, most)]
    for make in (never_learned, most_forgotten, hardest):
        shown = np.concatenate([found.ids for found in lists])
        found = make(values, most + len(shown))
        lists.append(found._replace(ids=found.ids[~np.isin(found.ids, shown)][:most]))
    return lists


def _largest(values_N: np.ndarray, allowed_N: np.ndarray) -> np.ndarray:
    """The allowed ids, the largest value first, equal values by id."""
    ids = np.flatnonzero(allowed_N)
    return ids[np.argsort(-values_N[ids], kind="stable")]
