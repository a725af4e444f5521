"""Loader speed beside its peers: `python -m benchmarks.loaders --json PATH`.

CIFAR-10, batch 512, all cores, crop + flip (uint8) and crop + flip + normalise (float32), and the latter with cutout,
mixing and RandAugment beside FFCV, which has the first two. Repetitions take turns, so a drift of the machine's speed
meets all. Also: from the start of the loader to its first batch in a new process (imports
excluded, compiled kernels cached on disk where a library does so), and from the last batch of an epoch to the first of
the next.
"""

import argparse
import dataclasses
import subprocess
import sys
import time

import torch

from benchmarks import loader_peers as peers
from benchmarks.measure import environment, interleave, summarise, write
from loaders import RICAP, CutMix, Mixup, RandAugment, make_loader, open_dataset

DATALOADER_SAMPLES = 10_240  # it is slow: a part of an epoch tells its rate
WORK = {"uint8 crop+flip": torch.uint8, "float32 crop+flip+normalise": torch.float32}
OURS = "rebar fused"
MORE = {  # beside crop + flip + normalise to float32
    "cutout": {"cutout": 8},
    "mixup": {"mixer": Mixup()},
    "CutMix": {"mixer": CutMix()},
    "RICAP": {"mixer": RICAP()},
    "RandAugment(2, 9), standard": {"randaugment": RandAugment(2, 9)},
    "RandAugment(2, 4), arazo": {"randaugment": RandAugment(2, 4, "arazo")},
}


def rates(path: str, dtype: torch.dtype, repeats: int) -> dict[str, dict[str, float]]:
    """Images per second of each contender: median and quartiles over interleaved epochs."""
    calls = {
        OURS: peers.rebar(path, dtype),
        "rebar ffcv": peers.rebar(path, dtype, "ffcv"),
        "FFCV": peers.ffcv(path, dtype),
        "torch DataLoader": peers.torch_dataloader(path, dtype, DATALOADER_SAMPLES),
        "ceiling: torch.index_select": peers.index_select(path, dtype),
        "ceiling: copy in the cache": peers.plain_copy(path, dtype),
    }
    whole = open_dataset(path).num_samples
    result = {}
    for name, row in interleave(calls, repeats).items():
        images = (DATALOADER_SAMPLES if name == "torch DataLoader" else whole) // peers.BATCH * peers.BATCH
        quartiles = {"q1": images / row["q3_s"], "q3": images / row["q1_s"]}
        result[name] = {"images_per_s": images / row["median_s"], **quartiles, "n": row["n"]}
    return result


def augmented_rates(path: str, repeats: int) -> dict[str, dict[str, float]]:
    """Images per second in float32 with more augmentation, and FFCV's with and without."""
    calls = {OURS: peers.rebar(path, torch.float32), "FFCV": peers.ffcv(path, torch.float32)}
    for name, options in MORE.items():
        augment = dataclasses.replace(peers.AUGMENT, **options)
        calls[f"{OURS} + {name}"] = peers.rebar(path, torch.float32, augment=augment)
    for name in ("cutout", "mixup"):
        calls[f"FFCV + {name}"] = peers.ffcv(path, torch.float32, more=name)
    images = open_dataset(path).num_samples // peers.BATCH * peers.BATCH
    return {
        name: {"images_per_s": images / row["median_s"], "q1": images / row["q3_s"], "q3": images / row["q1_s"]}
        | {"n": row["n"]}
        for name, row in interleave(calls, repeats).items()
    }


def first_batch(path: str, name: str) -> float:
    """Seconds from building the loader to its first float32 batch, in this process."""
    if name == "FFCV":
        import ffcv.loader
        import ffcv.transforms  # noqa: F401
    else:
        import loaders.factory
        import loaders.fused  # noqa: F401
    start = time.perf_counter()
    if name == "FFCV":
        peers.ffcv(path, torch.float32, take=1)()
    else:
        peers.rebar(path, torch.float32, take=1)()
    return time.perf_counter() - start


def first_batches(path: str, repeats: int) -> dict[str, dict[str, float]]:
    """The same in new processes, in turn."""
    times = {OURS: [], "FFCV": []}
    for _ in range(repeats):
        for name, values in times.items():
            run = [sys.executable, "-m", "benchmarks.loaders", "--data", path, "--first-batch", name]
            values.append(float(subprocess.check_output(run).split()[-1]))
    return {name: summarise(values) for name, values in times.items()}


def between_epochs(path: str, epochs: int = 9) -> dict[str, float]:
    """Seconds from the last batch of an epoch to the first of the next, the plan included (fused, float32)."""
    loader = make_loader(path, peers.BATCH, augment=peers.AUGMENT, drop_last=True)
    gaps, last = [], None
    for _ in range(epochs):
        for i, _batch in enumerate(loader):
            if i == 0 and last is not None:
                gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
    return summarise(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="where to write the result")
    parser.add_argument("--data", default="data/cifar10/train.beton", help="a raw .beton")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--first-batch", choices=[OURS, "FFCV"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.first_batch:
        print(first_batch(args.data, args.first_batch))
        return
    result = {"environment": environment(), "batch": peers.BATCH, "images_per_s": {}, "ratios": {}}
    for work, dtype in WORK.items():
        rows = result["images_per_s"][work] = rates(args.data, dtype, args.repeats)
        ours = rows[OURS]["images_per_s"]
        result["ratios"][work] = {name: ours / row["images_per_s"] for name, row in rows.items() if name != OURS}
        for name, row in rows.items():
            rate = row["images_per_s"]
            print(f"{work:30}{name:30}{rate:12,.0f} images/s   ours / it {ours / rate:6.2f}")
    rows = result["images_per_s"]["float32, more augmentation"] = augmented_rates(args.data, args.repeats)
    plain = rows["FFCV"]["images_per_s"]
    result["ratios"]["to FFCV's crop+flip+normalise"] = {
        name: row["images_per_s"] / plain for name, row in rows.items()
    }
    for name, row in rows.items():
        rate = row["images_per_s"]
        print(f"{'float32, more augmentation':30}{name:42}{rate:12,.0f} images/s   it / FFCV plain {rate / plain:6.2f}")
    result["first_batch"] = first_batches(args.data, max(3, args.repeats // 3))
    result["between_epochs"] = between_epochs(args.data)
    for name, row in result["first_batch"].items():
        print(f"start to first batch, {name}: {row['median_s']:.3f} s")
    print(f"between two epochs: {result['between_epochs']['median_s'] * 1e3:.2f} ms")
    if args.json:
        write(args.json, result)


if __name__ == "__main__":
    main()
