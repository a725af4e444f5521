"""The files that a run leaves behind: config.yaml, metrics.jsonl, summary.json."""

import json
import os
import re
import reprlib
from pathlib import Path
from typing import Any

import yaml

from loaders.formats.atomic import atomic_path, remove_leftovers
from loaders.formats.claims import read_limited
from loaders.formats.json_file import entry, parse_json, read_json, typed
from training import checkpoint
from training.config import Config
from training.json_file import write_json

CONFIG, METRICS, SUMMARY, CURVE = "config.yaml", "metrics.jsonl", "summary.json", "curve.png"
MAX_METRICS_BYTES = 1 << 26


def make_folder(config: Config) -> Path:
    """The folder of a new run: `config.out`, or a fresh runs/<name>[-2, -3, ...].

    Raises:
        ValueError: the folder holds a run already.
    """
    if config.out is None:
        name, number = Path("runs") / config.run_name, 1
        while True:
            folder = name if number == 1 else Path(f"{name}-{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1
    folder = Path(config.out)
    check_unused(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {folder} ({error.strerror}): choose another --out") from None
    return folder


def check_unused(folder: Path) -> None:
    """Refuse a folder that holds a run already.

    Raises:
        ValueError: it does.
    """
    for file, what in ((SUMMARY, "a finished run"), (checkpoint.FILE, "an unfinished run")):
        if (folder / file).exists():
            remedy = "choose another --out" if file == SUMMARY else "continue it with --resume, or choose another --out"
            raise ValueError(f"{folder} holds {what}: {remedy}")


def begin(folder: Path, config: Config, num_epochs: int) -> None:
    """Make a folder ready for a run that has done `num_epochs` epochs: rows of later ones and leftovers go.

    Only the holder of the folder's lock may call it: the temporary files of a run that works look like leftovers.
    """
    remove_leftovers(folder, "|".join(map(re.escape, (CONFIG, METRICS, SUMMARY, CURVE, checkpoint.FILE))))
    cut_rows(folder, num_epochs)
    write_config(folder, config)


def write_config(folder: Path, config: Config) -> None:
    """The settings but `out`, so that `--config` can read them back for another run.

    What depends on the machine is resolved; what data and method decide stays open.
    """
    with atomic_path(folder / CONFIG) as temporary:
        values = {key: value for key, value in config.as_dict().items() if key != "out"}
        temporary.write_text(yaml_text(values), encoding="utf-8")


def yaml_text(values: dict[str, Any]) -> str:
    """Settings as YAML that `training.settings_file` reads: a value that stands in two places is written twice.

    YAML would write it once, and name it in the other place by an alias, which no file of settings may have.
    """
    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False, width=120)


def append_row(folder: Path, row: dict[str, Any]) -> None:
    """Add one line to metrics.jsonl, and have it on disk.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / METRICS
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        sentence = f"could not add a row to {path} ({error.strerror}): free some space, then continue with --resume"
        raise OSError(error.errno, sentence) from error


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without a last line that was cut short.

    Raises:
        ValueError: another line is no row of an epoch; says which.
    """
    path, rows = folder / METRICS, []
    if not path.exists():
        return []
    content = read_limited(path, MAX_METRICS_BYTES)
    lines, is_cut = content.splitlines(), not content.endswith(b"\n")
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            rows.append(parse_json(line, where))
            entry(rows[-1], "epoch", int, where)
        except ValueError as error:
            if is_cut and number == len(lines):
                return rows[: number - 1]
            raise ValueError(f"{error}: remove that line, or start a new run") from None
    return rows


def check_rows(folder: Path, rows: list[dict[str, Any]], split: str) -> None:
    """Refuse rows that curve and summary cannot be made from.

    Args:
        split: what the run is tested on.

    Raises:
        ValueError: names the line and the key.
    """
    for number, row in enumerate(rows, start=1):
        where = f"{folder / METRICS}, line {number}"
        entry(row, "samples", float, where)
        if row.get("weights", 0) is not None:  # they could not be told
            entry(entry(row, "weights", dict, where), "tau", float, where)
        for name in ("train_loss", f"{split}_accuracy", f"{split}_accuracy_tta", f"{split}_loss"):
            value = row.get(name, "nothing")
            if not (value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 53)):
                raise ValueError(f"{where}: {name} is {reprlib.repr(value)}, needed: a number or null")


def cut_rows(folder: Path, num_epochs: int) -> None:
    """Keep the rows of the first `num_epochs` epochs: the later ones are about to be made again."""
    rows = [row for row in read_rows(folder) if row["epoch"] <= num_epochs]
    with atomic_path(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """summary.json; its presence says that the run is finished."""
    write_json(folder / SUMMARY, summary, indent=2)


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a finished run.

    Raises:
        ValueError: it is not whole.
    """
    path = folder / SUMMARY
    try:
        return typed(read_json(path), dict, str(path))
    except ValueError as error:
        raise ValueError(f"{error}: delete it, and --resume makes it again") from None
