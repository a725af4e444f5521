"""samples.html: one self-contained page of contact sheets, for a phone or a desk, in light or dark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from loaders.formats.atomic import atomic_path
from training.budget import budget_text
from training.inspect.drawing import HEIGHT, MOST_DOTS, WIDTH, data_uri, histogram, history_points, path_of
from training.inspect.lists import List, labels_differ
from training.inspect.table import Columns
from training.report.numbers import tested_split
from training.report.past_run import PastRun

FILE = "samples.html"
_MOST_CLASSES = 40  # rows of the table of classes
_SCORES = (("mean error", "mean_error"), ("latest error", "error"), ("latest loss", "loss"), ("EL2N", "el2n"))


def write_page(
    path: Path, run: PastRun, values: Columns, lists: list[List], image: Callable[[int], np.ndarray], scores_file: str
) -> None:
    """Write the page by atomic rename.

    Args:
        values: all that is known of the samples.
        image: gives one by id, uint8 [H, W, 3].
        scores_file: name of the table beside the page.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    bars = histogram(values["mean_error"], values["guess"] == values["label"])
    text = templates.get_template(FILE).render(
        run=run,
        budget=budget_text(run.config),
        accuracy=_accuracy(run),
        facts=facts(values, lists),
        notes=notes(run, values),
        bars=bars,
        tallest=max(map(sum, bars)),
        classes=class_rows(run, values)[:_MOST_CLASSES],
        lists=[(found, sheets(found, run, values, image)) for found in lists],
        group_sizes=Counter(values["duplicate_of"].tolist()),
        scores_file=scores_file,
        width=WIDTH,
        height=HEIGHT,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def facts(values: Columns, lists: list[List]) -> list[tuple[str, str, str]]:
    """Numbers for the head of the page: the number, what it counts, and the list that shows it, or nothing."""
    num, totals = len(values["id"]), {found.key: found.total for found in lists}
    right = float((values["guess"] == values["label"]).mean())
    told = [(f"{num:,}", "images", ""), (f"{100 * right:.1f} %", "guessed right", "")]
    for number, what, key in (
        (totals["mislabelled"], "may be mislabelled", "mislabelled"),
        (totals["duplicates"], "near duplicates", "duplicates"),
        (int(labels_differ(values).sum()), "duplicates whose labels differ", "duplicates"),
        (totals["never-learned"], "never learned", "never-learned"),
    ):
        if number:
            told.append((f"{number:,}", what, key))
    return told


def notes(run: PastRun, values: Columns) -> list[str]:
    """What a reader must know before believing the lists."""
    lines = []
    if run.summary is None:
        lines.append(f"The run is not finished: this is what it knew after {run.num_epochs} epochs.")
    unseen = int((values["visits"] == 0).sum())
    if unseen:
        lines.append(
            f"{unseen:,} images were never visited. They have no history and no mean error, and only the finished "
            "network's guess speaks of them."
        )
    if run.config.mixer != "none":
        lines.append(
            f"The run mixed its images ({run.config.mixer}): an error of its history is that of mixtures, larger than "
            "that of the image alone, and much of the forgetting is the mixing's."
        )
    return lines


def class_rows(run: PastRun, values: Columns) -> list[dict[str, Any]]:
    """A row for each class that has images, the one that the network gets wrong most often first."""
    label, guess, rows = values["label"], values["guess"], []
    num_classes = len(run.manifest.classes)
    counts = np.bincount(label, minlength=num_classes)
    doubted = np.bincount(label[values["mislabelled"] > 0], minlength=num_classes)
    wrong = np.flatnonzero(guess != label)
    order = wrong[np.lexsort((guess[wrong], label[wrong]))]
    by_class = np.split(guess[order], np.searchsorted(label[order], np.arange(1, num_classes)))
    for number in np.flatnonzero(counts).tolist():
        others = np.bincount(by_class[number], minlength=num_classes)
        most = int(others.argmax())
        rows.append(
            {
                "name": run.manifest.classes[number],
                "count": int(counts[number]),
                "wrong": len(by_class[number]) / int(counts[number]),
                "doubted": int(doubted[number]),
                "taken_for": run.manifest.classes[most] if others[most] else "",
                "taken": int(others[most]),
            }
        )
    return sorted(rows, key=lambda row: -row["wrong"])


def sheets(
    found: List, run: PastRun, values: Columns, image: Callable[[int], np.ndarray]
) -> list[list[dict[str, Any]]]:
    """The tiles of a list: one sheet, or one for each group of near duplicates."""
    tiles = [tile(sample, run, values, image(sample)) for sample in found.ids.tolist()]
    if found.key != "duplicates":
        return [tiles] if tiles else []
    group = values["duplicate_of"][found.ids]
    cuts = np.flatnonzero(np.diff(group)) + 1
    return [tiles[start:end] for start, end in zip([0, *cuts], [*cuts, len(tiles)], strict=True) if end > start]


def tile(sample: int, run: PastRun, values: Columns, image_HWC: np.ndarray) -> dict[str, Any]:
    """All that the page shows of one image."""
    classes = run.manifest.classes
    points = [] if run.history is None else history_points(run.history[:, sample])
    label, guess, rival = (classes[values[name][sample]] for name in ("label", "guess", "rival"))
    p_label, p_rival = (float(values[name][sample]) for name in ("p_label", "p_rival"))
    return {
        "id": sample,
        "group": int(values["duplicate_of"][sample]),
        "label": label,
        "guess": guess,
        "rival": rival,
        "is_right": label == guess,
        "p_guess": max(p_label, p_rival),
        "image": data_uri(image_HWC),
        "is_small": max(image_HWC.shape[:2]) < 96,
        "path": path_of(points),
        "first": points[0][0] if points else 0,
        "points": points if len(points) <= MOST_DOTS else points[-1:],
        "details": details(sample, values, (label, p_label), (rival, p_rival)),
    }


def details(sample: int, values: Columns, label: tuple[str, float], rival: tuple[str, float]) -> list[tuple[str, str]]:
    """Names and values for a closer look at one image."""
    named = [f"{name} ({100 * p:.0f} %)" for name, p in (label, rival)]
    other = "guess" if rival[1] > label[1] else "next likeliest"
    told = [("id", f"{sample}"), ("label", named[0]), (other, named[1]), ("visits", f"{values['visits'][sample]:.4g}")]
    if values["visits"][sample]:
        told += [(name, f"{values[key][sample]:.3f}") for name, key in _SCORES]
    if "forgetting" in values:
        learned = int(values["learned"][sample])
        told.append(("first learned", f"epoch {learned}" if learned else "never"))
        told.append(("forgotten", f"{values['forgetting'][sample]} times"))
    if values["duplicate_of"][sample] >= 0:
        told.append(("near duplicate of", f"{values['duplicate_of'][sample]}"))
    return told


def _accuracy(run: PastRun) -> tuple[str, float] | None:
    """What the run was tested on, and its accuracy there, where it is finished."""
    if run.summary is None:
        return None
    split = tested_split(run.summary)
    value = run.summary.get(f"{split}_accuracy")
    return None if value is None else (split, value)
