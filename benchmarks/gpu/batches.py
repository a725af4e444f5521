"""Batches made on a GPU, beside those made on the host and copied, and a bare gather: a part of `benchmarks.gpu`.

All deliver CIFAR-10 with crop and flip from one plan of several epochs. The clock starts when its first batch is there,
so the start of an epoch does not count. Each is timed at a small and at a large batch. Where `host_fraction` is near
one, the GPU had little left to do when the host had queued the last batch, so the host set the pace.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.loader_peers import AUGMENT
from benchmarks.measure import summarise
from loaders import RICAP, EpochPlan, IndexScheduler, RandAugment, open_dataset
from loaders.backends import fused, native
from loaders.backends.batching import Settings
from loaders.backends.gpu import raw
from loaders.backends.gpu.transfer import OnDevice
from loaders.formats.dataset import DatasetFile
from loaders.formats.sentence import one_line
from loaders.types import Backend

BATCHES = (512, 4096)
EPOCHS = 8  # in one plan
GATHER = "bare gather, uint8"

Deliver = Callable[[], Iterator[object]]


class Row(NamedTuple):
    """One thing that is measured."""

    name: str
    dtype: torch.dtype
    more: dict[str, object]  # of `Augment`, beside crop and flip
    kept: float | None = None  # the fraction of the images that the GPU's memory may take
    host: bool = False  # made on the host as well


ROWS = (
    Row("uint8", torch.uint8, {}, host=True),
    Row("bfloat16", torch.bfloat16, {}),
    Row("float16", torch.float16, {}, host=True),
    Row("uint8 + RICAP", torch.uint8, {"mixer": RICAP()}, host=True),
    Row("float16 + RICAP", torch.float16, {"mixer": RICAP()}, host=True),
    Row("uint8 + RandAugment", torch.uint8, {"randaugment": RandAugment(2, 9)}, host=True),
    Row("uint8 + RandAugment of Arazo", torch.uint8, {"randaugment": RandAugment(2, 4, "arazo")}),
    Row("uint8, resized to 24", torch.uint8, {"resize": 24, "random_resized_crop": (0.25, 1.0)}, host=True),
    Row("uint8, half of the images resident", torch.uint8, {}, kept=0.5),
)


def contenders(path: Path, batch: int, device: torch.device, plan: EpochPlan) -> dict[str, Deliver]:
    """What makes the batches of the plan, by name; each call makes them anew, the first one opens what makes them."""
    dataset, made = open_dataset(path), {}
    for name, dtype, more, kept, host in ROWS:
        augment = dataclasses.replace(AUGMENT, **more)
        settings = Settings(batch, dtype, augment, pinned=device.type == "cuda")
        capacity = None if kept is None else int(kept * dataset.sizes.sum())
        on_device = functools.partial(raw.open_on_device, dataset, settings, device, capacity)
        made[f"on the GPU, {name}"] = _epochs(on_device, plan)
        if host:
            module = native if augment.resize else fused
            made[f"on the host and copied, {name}"] = _epochs(
                functools.partial(_copied, module.open_backend, dataset, settings, device), plan
            )
    images = torch.from_numpy(np.stack([dataset.bytes(i) for i in range(dataset.num_samples)])).to(device)
    ids = torch.from_numpy(plan.ids.copy()).to(device)
    made[GATHER] = lambda: (images[part] for part in ids.split(batch))
    return made


def _copied(
    open_backend: Callable[[DatasetFile, Settings], Backend],
    dataset: DatasetFile,
    settings: Settings,
    device: torch.device,
) -> Backend:
    feed = open_backend(dataset, settings)
    return OnDevice(feed, device) if device.type == "cuda" else feed


def _epochs(open_backend: Callable[[], Backend], plan: EpochPlan) -> Deliver:
    opened = functools.cache(open_backend)
    return lambda: opened().epoch(plan)


def timed(deliver: Deliver, wait: Callable[[], None]) -> tuple[float, float]:
    """Take all batches but the first; returns the seconds until all are made, and until all are queued."""
    batches = deliver()
    next(batches)
    wait()
    start = time.perf_counter()
    for batch in batches:
        del batch
    queued = time.perf_counter() - start
    wait()
    return time.perf_counter() - start, queued


def batch_rows(
    data: Path,
    device: str = "cuda",
    repeats: int = 7,
    batches: tuple[int, ...] = BATCHES,
    num_samples: int | None = None,
    save: Callable[[dict], None] = lambda rows: None,
    seconds: float = math.inf,
) -> dict[str, dict]:
    """Measure all rows, in turns. What fails is left out of the turns that follow; the others go on.

    Args:
        data: folder of `convert/cifar.py`.
        device: where the batches go; "cpu" is to try the program, with TRITON_INTERPRET=1 in the environment.
        repeats: turns that count; one more goes ahead.
        batches: samples of a batch; each size is measured in its own turns.
        num_samples: of the plan; None is `EPOCHS` times the data set.
        save: is given the rows after each turn.
        seconds: after which no further turn is begun; the sizes have equal parts of them, and one turn at least.

    Returns:
        name, with the size of the batch -> `images_per_s` (median), `q1`, `q3`, `n`; `of_gather`, its fraction of a
        bare gather of that size; `host_fraction`, the fraction of the time in which the host was still queueing; or
        `failed`, a sentence.
    """
    path, where, rows, end = data / "train.beton", torch.device(device), {}, time.monotonic() + seconds
    wait = torch.cuda.synchronize if where.type == "cuda" else torch.cpu.synchronize
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", torch.cuda.current_device())
    total = open_dataset(path).num_samples
    epochs = [IndexScheduler(total).plan(epoch).ids for epoch in range(EPOCHS)]
    plan = EpochPlan(np.concatenate(epochs)[:num_samples], key=1)
    for number, batch in enumerate(batches):
        limit = time.monotonic() + (end - time.monotonic()) / (len(batches) - number)
        makers = contenders(path, batch, where, plan)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
        for turn in range(repeats + 1):
            for name in [*makers]:
                try:
                    took = timed(makers[name], wait)
                except Exception as error:  # noqa: BLE001 (whatever a library or a card does: the others are measured)
                    rows[f"{name}, batch {batch:,}"] = {"failed": one_line(str(error), 300) or type(error).__name__}
                    del makers[name], times[name]
                else:
                    times[name] += [took] if turn else []
            if turn:
                rows.update(_rated(times, len(plan.ids) - batch, batch))
            save(rows)
            if turn and time.monotonic() > limit:
                break
    return rows


def _rated(times: dict[str, list[tuple[float, float]]], num_images: int, batch: int) -> dict[str, dict[str, float]]:
    rated = {}
    for name, pairs in times.items():
        seconds, queued = (summarise(list(values)) for values in zip(*pairs, strict=True))
        rated[f"{name}, batch {batch:,}"] = {
            "images_per_s": num_images / seconds["median_s"],
            "q1": num_images / seconds["q3_s"],
            "q3": num_images / seconds["q1_s"],
            "n": seconds["n"],
            "host_fraction": queued["median_s"] / seconds["median_s"],
        }
    ceiling = rated.get(f"{GATHER}, batch {batch:,}")
    for row in rated.values() if ceiling else ():
        row["of_gather"] = row["images_per_s"] / ceiling["images_per_s"]
    return rated


def main() -> None:
    for name, row in batch_rows(Path("data/cifar10")).items():
        if "failed" in row:
            print(f"{name:60} failed: {row['failed']}", flush=True)
            continue
        fractions = (
            f"{row.get('of_gather', math.nan):7.1%} of the gather, host queueing {row['host_fraction']:.0%} of the time"
        )
        print(f"{name:60}{row['images_per_s']:14,.0f} images/s {fractions}", flush=True)


if __name__ == "__main__":
    main()
