"""Read a `.beton` four times as large as the memory for its pages: `python -m benchmarks.larger_than_memory --json X`.

The page cache is empty at first. While an epoch runs, a thread watches how much of the file is in memory, and drops all
of it (madvise and posix_fadvise, DONTNEED) whenever that is more than a quarter of the file: a stand-in for a limit by
the kernel, which needs no root, and drops more than the kernel would. Compared are plans in the order of the file,
`paged` ones and random ones, each for some seconds; then the latter as the system reads by itself, without what
`loaders/backends/read_ahead.py` asks for. The ceiling is a sequential read of the same file. Bytes from the disk are
those that the kernel counts for this process. A hypervisor may cache what the guest does not.
"""

import argparse
import ctypes
import io
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from benchmarks import measure
from benchmarks.jpeg_sets import canvas
from convert.writers.beton import Samples, write_samples
from loaders import Augment, EpochPlan, IndexScheduler, make_loader
from loaders.formats.beton_layout import JPEG, MIN_PAGE_BYTES, RAW

MADV_DONTNEED = 4
BATCH = 256
RAW_SIZE = 64  # pixels
DISTINCT = 400  # images; the file repeats them
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = _libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def write_file(path: Path, kind: str, num_bytes: int) -> float:
    """Write a file of about this size; returns the mean bytes of an image."""
    rng, whole, distinct = np.random.default_rng(0), (canvas(np.random.default_rng(1), 1024) + 128), list[bytes]()
    size = RAW_SIZE if kind == "raw" else 450
    for _ in range(DISTINCT):
        top, left = rng.integers(0, 1024 - size, 2)
        image = whole[top : top + size, left : left + size].clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=90)
        distinct.append(image.tobytes() if kind == "raw" else buffer.getvalue())
    sizes = np.array([len(image) for image in distinct])
    num = int(num_bytes / sizes.mean())
    offsets = np.concatenate([[0], np.cumsum(np.resize(sizes, num))])
    samples = Samples(RAW if kind == "raw" else JPEG, offsets, size, size, np.zeros(num, np.int64))

    def content(first: int, last: int) -> np.ndarray:
        return np.frombuffer(b"".join(distinct[i % DISTINCT] for i in range(first, last)), np.uint8)

    write_samples(path, samples, content, None)
    return float(sizes.mean())


def drop(path: Path, data: np.ndarray | None = None) -> None:
    """Drop the pages of a file from memory: out of a map of it, then out of the page cache."""
    if data is not None:
        _libc.madvise(data.ctypes.data, data.nbytes, MADV_DONTNEED)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


class Limit(threading.Thread):
    """Keeps the pages of a mapped file below a number of bytes; `most` is the largest number that was seen."""

    def __init__(self, path: Path, data: np.ndarray, num_bytes: int):
        super().__init__(daemon=True)
        self.path, self.data, self.num_bytes, self.most, self.drops, self.done = path, data, num_bytes, 0, 0, False
        self._pages = np.empty(-(-data.nbytes // mmap.PAGESIZE), np.uint8)

    def run(self) -> None:
        while not self.done:
            _libc.mincore(self.data.ctypes.data, self.data.nbytes, self._pages.ctypes.data)
            resident = int((self._pages & 1).sum(dtype=np.int64)) * mmap.PAGESIZE
            self.most = max(self.most, resident)
            if resident > self.num_bytes:
                drop(self.path, self.data)
                self.drops += 1
            time.sleep(0.05)


def bytes_read() -> int:
    """Bytes that this process has had read from disks."""
    return int(Path("/proc/self/io").read_text().split("\nread_bytes:")[1].split()[0])


def read_through(path: Path, seconds: float) -> dict[str, float]:
    """Read the file from its start in blocks of 1 MiB."""
    drop(path)
    start, count = time.perf_counter(), 0
    with open(path, "rb", buffering=0) as file:
        while time.perf_counter() - start < seconds and (block := file.read(1 << 20)):
            count += len(block)
    drop(path)
    return {"mb_per_s": count / 1e6 / (time.perf_counter() - start)}


def deliver(path: Path, plan_of: Callable[[int], EpochPlan], limit: int, seconds: float, options: dict) -> dict:
    """Deliver a plan for some seconds from an empty page cache under a limit."""
    drop(path)
    loader = make_loader(path, BATCH, dtype=torch.uint8, **options)
    batches = loader.epoch(plan_of(loader.dataset.num_samples))
    watch, count, before, start = Limit(path, loader.dataset.data, limit), 0, bytes_read(), time.perf_counter()
    watch.start()
    for batch in batches:
        count += len(batch.ids)
        if time.perf_counter() - start > seconds:
            break
    elapsed, disk = time.perf_counter() - start, bytes_read() - before
    batches.close()
    watch.done = True
    watch.join()
    return {
        "images_per_s": count / elapsed,
        "from_disk_mb_per_s": disk / 1e6 / elapsed,
        "from_disk_bytes_per_image": disk / count,
        "most_resident_mb": watch.most / 1e6,
        "drops": watch.drops,
        "images": count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True)
    parser.add_argument("--folder", help="where the files go, each removed at the end; default: a temporary folder")
    parser.add_argument("--gigabytes", type=float, default=4, help="of each file")
    parser.add_argument("--seconds", type=float, default=15, help="of each plan")
    parser.add_argument("--backend", default="auto", help="that decodes JPEG")
    arguments = parser.parse_args()
    num_bytes, results = int(arguments.gigabytes * 1e9), {}
    for kind in ("raw", "jpeg"):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            path = Path(folder) / f"{kind}.beton"
            image_bytes, limit = write_file(path, kind, num_bytes), num_bytes // 4
            page = round(MIN_PAGE_BYTES / image_bytes)  # samples; a window takes a quarter of the limit
            window = max(1, limit // 4 // MIN_PAGE_BYTES)
            plans = {
                "in the order of the file": lambda n: EpochPlan(np.arange(n)),
                f"paged, windows of {window} pages": lambda n, p=page, w=window: IndexScheduler(
                    n, design="paged", page=p, window=w
                ).plan(0),
                "paged, 30 % of the samples": lambda n, p=page, w=window: IndexScheduler(
                    n, design="paged", page=p, window=w, budget=0.3
                ).plan(0),
                "random": lambda n: IndexScheduler(n).plan(0),
            }
            options = {"augment": Augment(flip=True)}
            if kind == "jpeg":
                options = {"augment": Augment(resize=224, random_resized_crop=(0.08, 1)), "backend": arguments.backend}
            list(make_loader(path, BATCH, dtype=torch.uint8, **options).epoch(EpochPlan(np.arange(512))))  # compiles
            rows = results[kind] = {"ceiling: read in order": read_through(path, arguments.seconds)}
            for name, plan_of in plans.items():
                rows[name] = deliver(path, plan_of, limit, arguments.seconds, options)
            for name in list(plans)[1:]:
                with mock.patch("loaders.backends.batching.ReadAhead", mock.Mock()):
                    rows[f"{name}, without reading ahead"] = deliver(
                        path, plans[name], limit, arguments.seconds, options
                    )
            print(f"{kind}: {path.stat().st_size / 1e9:.1f} GB, at most {limit / 1e9:.1f} GB in memory")
            for name, row in rows.items():
                print(f"  {name:44}", ", ".join(f"{key} {value:,.0f}" for key, value in row.items()))
            rows["file"] = {"gb": path.stat().st_size / 1e9, "limit_gb": limit / 1e9, "bytes_per_image": image_bytes}
    kept = {name: value for name, value in vars(arguments).items() if name not in ("json", "folder")}
    measure.write(arguments.json, {"environment": measure.environment(), "arguments": kept, "results": results})


if __name__ == "__main__":
    main()
