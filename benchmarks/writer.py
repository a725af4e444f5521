"""The CPU time to write a `.beton`, ours beside FFCV's: `python -m benchmarks.writer --json PATH`.

Both are given the same images in memory and write the same bytes, which is checked: raw images of 32 x 32, and JPEG
streams that are stored as they are. FFCV cannot do the latter by itself: here its image field is made to. As it comes,
it decodes JPEG files and encodes them anew, the last row. FFCV's `DatasetWriter` runs with one worker process; its CPU
time is that of all its processes. The ceiling is a plain write of as many bytes.
"""

import argparse
import contextlib
import importlib.util
import io
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import measure
from benchmarks.jpeg_sets import canvas
from convert.writers.beton import write_beton, write_jpeg_beton
from convert.writers.streams import Streams

SIZE = 32  # pixels of the raw images


def cpu_seconds() -> float:
    """CPU time of this process and of its children that ended, user and system."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def raw_images(num: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [num, 32, 32, 3] and labels int64 [num]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num, SIZE, SIZE, 3), np.uint8), rng.integers(0, 10, num)


def jpeg_streams(num: int) -> Streams:
    """JPEG of 400 to 500 pixels, like photographs."""
    rng, contents = np.random.default_rng(0), []
    whole, sizes = canvas(rng, 1024), rng.integers(400, 501, (num, 2))
    for height, width in sizes:
        top, left = rng.integers(0, 1024 - height), rng.integers(0, 1024 - width)
        pixels = (whole[top : top + height, left : left + width] + 128).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
        contents.append(np.frombuffer(buffer.getvalue(), np.uint8))
    offsets = np.concatenate([[0], np.cumsum([len(content) for content in contents])])
    labels, histogram = rng.integers(0, 10, num), np.zeros((3, 256), np.int64)
    return Streams(np.concatenate(contents), offsets, sizes[:, 0], sizes[:, 1], labels, histogram)


class Decoded:
    """JPEG streams as FFCV's users give them: decoded one by one."""

    def __init__(self, streams: Streams):
        self.streams = streams

    def __len__(self) -> int:
        return len(self.streams)

    def __getitem__(self, sample: int) -> tuple[Image.Image, int]:
        return Image.open(io.BytesIO(self.streams[sample].tobytes())), int(self.streams.labels[sample])


def write_by_ffcv(path: Path, rows: Any, page_bytes: int, mode: str, sizes: list[tuple[int, int]] | None = None):
    """Write by FFCV's own driver; with sizes (height, width) the rows are JPEG streams, stored as they are."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    image, sizes_left = RGBImageField(write_mode=mode), iter(sizes or ())

    def keep(destination, stream, malloc) -> None:
        destination["data_ptr"], storage = malloc(len(stream))
        storage[:] = stream
        destination["mode"], (destination["height"], destination["width"]) = 0, next(sizes_left)

    if sizes is not None:
        image.encode = keep
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        writer = DatasetWriter(str(path), {"image": image, "label": IntField()}, page_size=page_bytes, num_workers=1)
        writer.from_indexed_dataset(rows)
    for child in multiprocessing.active_children():
        child.join()  # its time counts when it has ended


def copy(path: Path, data: np.ndarray) -> None:
    """Write bytes and nothing else."""
    with open(path, "wb") as file:
        file.write(data.data)


def best(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """The least CPU time of each call in seconds; they take turns."""
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            before = cpu_seconds()
            call()
            times[name].append(cpu_seconds() - before)
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True)
    parser.add_argument("--folder", help="where the files go, each removed at the end; default: a temporary folder")
    parser.add_argument("--images", type=int, default=50_000, help="raw images of 32 x 32")
    parser.add_argument("--streams", type=int, default=1000, help="JPEG streams")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    images, labels = raw_images(arguments.images)
    streams = jpeg_streams(arguments.streams)
    sizes = list(zip(streams.heights, streams.widths, strict=True))
    has_ffcv, result = importlib.util.find_spec("ffcv") is not None, {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        ours, theirs, plain = (Path(folder) / name for name in ("ours.beton", "ffcv.beton", "plain"))
        raw, jpeg = partial(write_beton, ours, images, labels), partial(write_jpeg_beton, ours, streams)
        for name, write, data, by_ffcv in (
            (
                f"{len(images):,} raw images of {SIZE} x {SIZE}",
                raw,
                images.reshape(-1),
                {"FFCV": (list(zip(images, labels.tolist(), strict=True)), "raw")},
            ),
            (
                f"{len(streams):,} JPEG streams of {len(streams.data) / len(streams) / 1e3:.0f} KB",
                jpeg,
                streams.data,
                {
                    "FFCV": ([(streams[i], int(streams.labels[i])) for i in range(len(streams))], "jpg", sizes),
                    "FFCV, encoding anew": (Decoded(streams), "jpg"),
                },
            ),
        ):
            write()
            page_bytes = int(np.fromfile(ours, "<u4", 1, offset=4)[0])
            calls = {"ours": write, "ceiling: a plain write": partial(copy, plain, data)}
            if has_ffcv:
                for peer, (rows, *more) in by_ffcv.items():
                    calls[peer] = partial(write_by_ffcv, theirs, rows, page_bytes, *more)
                calls["FFCV"]()
                if ours.read_bytes() != theirs.read_bytes():
                    raise SystemExit(f"{name}: the files differ")
            times = result[name] = best(calls, arguments.repeats)
            print(name)
            for who, seconds in times.items():
                print(f"  {who:24} {seconds:8.3f} s of CPU, {seconds / times['ours']:6.1f} times ours")
    if not has_ffcv:
        print("FFCV is not installed: only ours was measured")
    kept = {name: value for name, value in vars(arguments).items() if name not in ("json", "folder")}
    measure.write(arguments.json, {"environment": measure.environment(), "arguments": kept, "cpu_s": result})


if __name__ == "__main__":
    main()
