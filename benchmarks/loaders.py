"""Loader speed beside its peers: `python -m benchmarks.loaders --json PATH`.

CIFAR-10, batch 512, all cores: crop + flip in uint8, crop + flip + normalise in float32, and the latter with cutout,
mixing and RandAugment, of which FFCV has cutout and mixup. Then the time to the first batch, the time between epochs
and memory, see `benchmarks.loader_starts`. A peer that is not installed is left out.
"""

import argparse
import dataclasses
import importlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from benchmarks import loader_peers as peers
from benchmarks import loader_pipelines as pipelines
from benchmarks import loader_starts as starts
from benchmarks.measure import environment, interleave, write
from loaders import RICAP, CutMix, Mixup, RandAugment, open_dataset

DATALOADER_SAMPLES = 10_240  # torch's DataLoader is slow: a part of an epoch tells its rate
WORK = {"uint8 crop+flip": torch.uint8, "float32 crop+flip+normalise": torch.float32}
OURS = starts.OURS
NEEDS = {"ffcv": ("rebar ffcv", "FFCV"), "nvidia.dali": ("DALI",), "spdl.pipeline": ("SPDL",)}
MORE = {  # beside crop + flip + normalise to float32
    "cutout": {"cutout": 8},
    "mixup": {"mixer": Mixup()},
    "CutMix": {"mixer": CutMix()},
    "RICAP": {"mixer": RICAP()},
    "RandAugment(2, 9), standard": {"randaugment": RandAugment(2, 9)},
    "RandAugment(2, 4), arazo": {"randaugment": RandAugment(2, 4, "arazo")},
}


def missing() -> set[str]:
    """The peers that are not installed here; prints them."""
    names = set()
    for module, needed_by in NEEDS.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"left out: {', '.join(needed_by)} ({error})")
            names.update(needed_by)
    return names


def measure(path: str, contenders: dict[str, Callable[[], peers.Epoch]], repeats: int) -> dict[str, dict[str, float]]:
    """Images per second of each contender: median and quartiles of epochs that take turns."""
    calls = {name: build() for name, build in contenders.items()}
    whole = open_dataset(path).num_samples
    result = {}
    for name, row in interleave(calls, repeats).items():
        images = (DATALOADER_SAMPLES if name == "torch DataLoader" else whole) // peers.BATCH * peers.BATCH
        quartiles = {"q1": images / row["q3_s"], "q3": images / row["q1_s"]}
        result[name] = {"images_per_s": images / row["median_s"], **quartiles, "n": row["n"]}
    return result


def rates(path: str, dtype: torch.dtype, repeats: int, absent: set[str]) -> dict[str, dict[str, float]]:
    """`measure` of our loader, its peers and two ceilings."""
    contenders = {
        OURS: lambda: peers.rebar(path, dtype),
        "rebar ffcv": lambda: peers.rebar(path, dtype, "ffcv"),
        "FFCV": lambda: peers.ffcv(path, dtype),
        "DALI": lambda: pipelines.dali(path, dtype),
        "SPDL": lambda: pipelines.spdl(path, dtype),
        "torch DataLoader": lambda: peers.torch_dataloader(path, dtype, DATALOADER_SAMPLES),
        "ceiling: torch.index_select": lambda: peers.index_select(path, dtype),
        "ceiling: copy in the cache": lambda: peers.plain_copy(path, dtype),
    }
    return measure(path, {name: build for name, build in contenders.items() if name not in absent}, repeats)


def augmented_rates(path: str, repeats: int, absent: set[str]) -> dict[str, dict[str, float]]:
    """`measure` of our loader in float32 with each further augmentation, and of FFCV with the two that it has."""
    contenders = {OURS: lambda: peers.rebar(path, torch.float32)}
    for name, options in MORE.items():
        augment = dataclasses.replace(peers.AUGMENT, **options)
        contenders[f"{OURS} + {name}"] = lambda augment=augment: peers.rebar(path, torch.float32, augment=augment)
    if "FFCV" not in absent:
        contenders["FFCV"] = lambda: peers.ffcv(path, torch.float32)
        for name in ("cutout", "mixup"):
            contenders[f"FFCV + {name}"] = lambda name=name: peers.ffcv(path, torch.float32, more=name)
    return measure(path, contenders, repeats)


def apart(table: Callable[..., dict], *args: object) -> dict:
    """The table, made in a process of its own: after FFCV's first epoch Numba may fail to compile (docs/formats.md)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(table, *args).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result")
    parser.add_argument("--data", default="data/cifar10/train.beton", help="a raw .beton")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    absent = missing()
    result = {"environment": environment(), "batch": peers.BATCH, "images_per_s": {}, "ratios": {}}
    for work, dtype in WORK.items():
        rows = result["images_per_s"][work] = apart(rates, args.data, dtype, args.repeats, absent)
        ours = rows[OURS]["images_per_s"]
        result["ratios"][work] = {name: ours / row["images_per_s"] for name, row in rows.items() if name != OURS}
        for name, row in rows.items():
            rate = row["images_per_s"]
            print(f"{work:30}{name:30}{rate:12,.0f} images/s   ours / it {ours / rate:6.2f}")
    rows = result["images_per_s"]["float32, more augmentation"] = apart(
        augmented_rates, args.data, args.repeats, absent
    )
    for name, row in rows.items():
        print(f"{'float32, more augmentation':30}{name:42}{row['images_per_s']:12,.0f} images/s")
    if "FFCV" in rows:
        plain = rows["FFCV"]["images_per_s"]
        ratios = {name: row["images_per_s"] / plain for name, row in rows.items()}
        result["ratios"]["to FFCV's crop+flip+normalise"] = ratios
        for name, ratio in ratios.items():
            print(f"{name:42} / FFCV plain {ratio:6.2f}")
    result |= starts.all_of(args.data, max(3, args.repeats // 3), [OURS, *{"FFCV"} - absent])
    for what in starts.RATIOS:
        rows = result[what]
        if "FFCV" in rows:
            result["ratios"][f"{what}, FFCV / ours"] = rows["FFCV"]["median_s"] / rows[OURS]["median_s"]
    if args.json:
        write(args.json, result)


if __name__ == "__main__":
    main()
