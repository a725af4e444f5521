"""What a run leaves behind: config.yaml, metrics.jsonl, summary.json, curve.png.

Knows files; knows nothing of training.
"""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

import matplotlib
import torch
import yaml

from loaders.formats.atomic import atomic_path
from training.config import Config, run_name

CONFIG, METRICS, SUMMARY, CURVE = "config.yaml", "metrics.jsonl", "summary.json", "curve.png"
CHECKPOINT = "checkpoint.pt"


def make_folder(config: Config) -> Path:
    """The folder of a new run: `config.out`, or a fresh runs/<name>[-2, -3, ...].

    Raises:
        ValueError: the folder holds a run already.
    """
    if config.out is None:
        name, number = Path("runs") / run_name(config), 1
        while True:
            folder = name if number == 1 else Path(f"{name}-{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1
    folder = Path(config.out)
    for file, what in ((SUMMARY, "a finished run"), (CHECKPOINT, "an unfinished run")):
        if (folder / file).exists():
            remedy = "choose another --out" if file == SUMMARY else "continue it with --resume, or choose another --out"
            raise ValueError(f"{folder} holds {what}: {remedy}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {folder} ({error.strerror}): choose another --out") from None
    return folder


def write_config(folder: Path, config: Config) -> None:
    """The settings but `out`, so that `--config` can read them back for another run: decided is what depends on the
    machine, open what data and method decide."""
    with atomic_path(folder / CONFIG) as temporary:
        values = {key: value for key, value in config.as_dict().items() if key != "out"}
        temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def append_row(folder: Path, row: dict) -> None:
    """Add one line to metrics.jsonl, and have it on disk."""
    with open(folder / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_rows(folder: Path) -> list[dict]:
    """The rows of metrics.jsonl, without a last line that was cut short."""
    rows = []
    if (folder / METRICS).exists():
        for line in (folder / METRICS).read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def cut_rows(folder: Path, num_epochs: int) -> None:
    """Keep the rows of the first `num_epochs` epochs: the later ones are about to be made again."""
    rows = [row for row in read_rows(folder) if row["epoch"] <= num_epochs]
    with atomic_path(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_summary(folder: Path, summary: dict) -> None:
    """summary.json; its presence says that the run is finished."""
    with atomic_path(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def read_summary(folder: Path) -> dict:
    """summary.json of a finished run."""
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def machine(device: torch.device) -> dict:
    """The processor and the versions that the run was made with."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "numba")}
    return {
        "processor": processor_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
    }


def processor_name() -> str:
    """The processor's marketing name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def draw_curve(folder: Path, title: str) -> None:
    """curve.png: test accuracy and training loss against the samples trained on, from metrics.jsonl."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_rows(folder)
    if not rows:
        return
    tested = [row for row in rows if row["test_accuracy"] is not None]
    accuracy = [100 * row["test_accuracy"] for row in tested]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    above.plot([row["samples"] for row in tested], accuracy, "o-", color="tab:blue", markersize=4)
    last = f", {accuracy[-1]:.2f} % at the end" if tested else ""
    above.set(title=title + last, ylabel="test accuracy (%)")
    for some, name, colour in ((rows, "train", "tab:red"), (tested, "test", "tab:blue")):
        samples, losses = [row["samples"] for row in some], [row[f"{name}_loss"] for row in some]
        below.plot(samples, losses, "o-", color=colour, markersize=4, label=name)
    below.set(xlabel="samples trained on", ylabel="loss (nats)", xlim=(0, None))
    below.legend()
    below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    with atomic_path(folder / CURVE) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)
