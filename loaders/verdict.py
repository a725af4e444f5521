"""Why a loader is slow: one verdict from the times of its stages, and the one setting or conversion to change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backends.batching import Settings
from .formats.dataset import DatasetFile
from .formats.jpeg.header import has_restart_rows, read_scan
from .stages import Stages
from .threads import available_cores

_NUM_HEADERS = 200  # that are read at most
_SHORT_WAIT = 0.05  # fraction of the loop's time spent waiting for batches, up to which the loader is fast enough
_LARGE = 2.5  # an image is, whose shorter side is so many times that of the result


@dataclass
class Clock:
    """What `for batch in loader` has seen so far: batches, seconds that it waited for them, and seconds in between."""

    batches: int = 0
    waited: float = 0.0
    worked: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """What `Loader.explain` returns; printed, it is a few lines.

    Attributes:
        stages: seconds per batch.
        slowest: the stage that takes longest, or "your own step".
        advice: what to change, in one sentence.
        lines: all of it as text.
    """

    stages: Stages
    slowest: str
    advice: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def judge(
    dataset: DatasetFile, settings: Settings, backend: str, residence: str, stages: Stages, clock: Clock
) -> Explanation:
    """Put a verdict together.

    Args:
        dataset, settings, backend, residence, clock: those of the loader.
        stages: its times.
    """
    parts = {
        "reading": stages.read,
        "decoding": stages.decode,
        "resizing": stages.resize,
        "augmenting": stages.augment,
        "copying": stages.copy,
    }
    known = {name: seconds for name, seconds in parts.items() if seconds is not None}
    repeated = {name: seconds for name, seconds in known.items() if name != "reading" or stages.from_disk}
    slowest = max(repeated, key=lambda name: repeated[name], default="making them on the GPU")
    loop = clock.waited + clock.worked
    if clock.batches and clock.waited <= _SHORT_WAIT * loop:
        slowest = "your own step"
    advice = _advice(slowest, dataset, settings, backend, stages)
    threads = settings.num_threads or available_cores()
    floor = stages.read + (stages.decode or 0.0)
    ceiling = (
        f"{stages.batch_size / min(floor, stages.delivered):,.0f} images/s: reading and decoding alone"
        if stages.decode and dataset.kind != "raw"
        else f"{stages.batch_size / stages.delivered:,.0f} images/s: what is delivered, nothing has to be decoded here"
    )
    lines = [
        f"{dataset.path}: {dataset.num_samples:,} images ({dataset.kind}), backend {backend!r} on {threads} threads, "
        f"{residence}",
        "ms per batch  " + ", ".join(f"{name} {1000 * seconds:.2f}" for name, seconds in known.items()),
        f"delivered     {1000 * stages.delivered:.2f} ms per batch of {stages.batch_size:.0f}, "
        f"{stages.batch_size / stages.delivered:,.0f} images/s where the loop does nothing",
        f"ceiling       {ceiling}",
    ]
    if clock.batches:
        per_batch = 1000 / clock.batches
        lines.append(
            f"your loop     waited {per_batch * clock.waited:.2f} ms for a batch and worked "
            f"{per_batch * clock.worked:.2f} ms with it, over {clock.batches:,} batches"
        )
    lines.append(f"verdict       {slowest} takes longest: {advice}")
    return Explanation(stages, slowest, advice, tuple(lines))


def _advice(slowest: str, dataset: DatasetFile, settings: Settings, backend: str, stages: Stages) -> str:
    if slowest == "your own step":
        return "batches are there when the loop asks for them; nothing about the loader would make it faster"
    if slowest == "reading":
        megabytes = dataset.sizes.mean() * stages.batch_size / 1e6
        return (
            f"{megabytes / stages.read:,.0f} MB/s come from the disk; read the file once before (cat FILE > /dev/null) "
            "if it fits into memory, else make it smaller (convert/folder.py --max-side), or use "
            "IndexScheduler(design='paged')"
        )
    if slowest == "decoding":
        return _about_decoding(dataset, settings, backend)
    if slowest == "resizing":
        size = settings.augment.resize
        return f"convert with --max-side {2 * size} if the images are larger, or take a smaller resize than {size}"
    if slowest == "making them on the GPU":
        return "its stages cannot be told apart; a larger batch_size uses it better"
    if slowest == "copying":
        return "dtype=torch.uint8 copies a quarter of float32, and the network normalises; bfloat16 copies half"
    if settings.augment.randaugment is not None:
        return "RandAugment works on the host; a smaller n takes less, and so do more threads (num_threads)"
    if settings.dtype.is_floating_point and settings.dtype.itemsize == 4:
        return "dtype=torch.bfloat16 writes half the bytes, torch.uint8 a quarter"
    return "it runs as fast as memory allows; more threads (num_threads) share it"


def _about_decoding(dataset: DatasetFile, settings: Settings, backend: str) -> str:
    threads, cores, size = settings.num_threads or available_cores(), available_cores(), settings.augment.resize
    others = int((~dataset.is_jpeg).sum()) if dataset.kind == "png" else 0
    if others > dataset.num_samples // 20:
        return (
            f"{others:,} of {dataset.num_samples:,} images are PNG or WebP, which take about 12 and 7 times as long as "
            "JPEG; convert them with convert/folder.py"
        )
    if threads < cores:
        return f"num_threads={cores} uses all cores, {threads} are in use"
    if backend not in ("native", "dali", "nvimgcodec"):
        return "backend='native' decodes less of each image"
    side = float(np.median(np.minimum(dataset.heights, dataset.widths)))
    if size and side > _LARGE * size:
        return (
            f"half of the images have {side:.0f} pixels or more on the shorter side, and {size} are used: convert "
            f"with --max-side {2 * size}"
        )
    without = _without_rows(dataset) if backend == "native" and size else 0.0
    if without > 0.5:
        return (
            f"{100 * without:.0f} % of the images have no restart markers behind their rows, so they are decoded "
            "whole: convert them with convert/folder.py, which changes no pixel"
        )
    return "it is at its ceiling here: more cores, or a GPU that decodes (backend='dali'), or smaller images"


def _without_rows(dataset: DatasetFile) -> float:
    """The fraction of the JPEG images that have no restart markers behind their rows, from some of them."""
    jpegs = np.flatnonzero(dataset.is_jpeg)
    some = jpegs[:: max(1, len(jpegs) // _NUM_HEADERS)][:_NUM_HEADERS]
    return float(np.mean([not has_restart_rows(read_scan(dataset.bytes(sample))) for sample in some] or [0.0]))
