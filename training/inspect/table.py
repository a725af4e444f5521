"""scores.parquet: all that is known of each training image, a row each; scores.csv where pyarrow is missing."""

import importlib.util
from pathlib import Path

import numpy as np

from loaders.formats.atomic import atomic_path
from training.inspect.answers import Answers
from training.inspect.learning import learning
from training.inspect.mislabelled import suspicion
from training.report.past_run import PastRun

Columns = dict[str, np.ndarray]


def columns(run: PastRun, answers: Answers, duplicates_N: np.ndarray) -> Columns:
    """Name -> a value for each sample, [N]; NaN where it needs a visit and there was none.

    id and label; guess, rival, p_label and p_rival of the finished network (`Answers`); of the training passes: visits,
    mean_error over all of them, error, loss and el2n in the latest epoch with one, error_variance, error_average
    (`loaders.types.Snapshot`); epochs, learned and forgetting (`learning`), where the run left a history; mislabelled
    (`suspicion`); duplicate_of, the smallest id of its near duplicates, or -1.
    """
    scores, visited = run.scores, run.scores.visits > 0
    known = {
        name: np.where(visited, getattr(scores, name), np.float32(np.nan))
        for name in ("mean_error", "error", "loss", "el2n", "error_variance", "error_average")
    }
    doubt = suspicion(answers.labels, answers.p_label, answers.p_rival, known["mean_error"])
    return {
        "id": np.arange(run.num_samples),
        "label": answers.labels,
        "guess": answers.guesses,
        "rival": answers.rivals,
        "p_label": answers.p_label,
        "p_rival": answers.p_rival,
        "visits": scores.visits,
        **known,
        **({} if run.history is None else learning(run.history)._asdict()),
        "mislabelled": doubt,
        "duplicate_of": duplicates_N,
    }


def write_columns(folder: Path, values: Columns) -> Path:
    """Write scores.parquet, or scores.csv where pyarrow is missing, by atomic rename; returns which."""
    if importlib.util.find_spec("pyarrow") is None:
        return _write_csv(folder / "scores.csv", values)
    import pyarrow
    from pyarrow import parquet

    with atomic_path(folder / "scores.parquet") as temporary:
        parquet.write_table(pyarrow.table(values), temporary, compression="zstd")
    return folder / "scores.parquet"


def _write_csv(path: Path, values: Columns) -> Path:
    """Numbers as short as they come back the same; nothing between the commas for NaN."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(",".join(values) + "\n")
        texts = [np.where(value == value, value.astype(str), "").tolist() for value in values.values()]
        file.writelines(",".join(row) + "\n" for row in zip(*texts, strict=True))
    return path
