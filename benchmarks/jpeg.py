"""Random-resized-crop of JPEG images, our `ffcv` and `dali` backends beside FFCV's Loader and a pipeline of DALI.

    python -m benchmarks.jpeg --json benchmarks/results/jpeg.json

One repetition takes equally many images of 400 to 500 pixels, each once, in random order; cuts boxes of 8 to 100 % of
the area; resizes them to 224 x 224; and gives uint8 batches in host memory, on all cores. The peers draw their own
boxes from the same distribution. The images are made on the first call and kept in build/.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import measure
from benchmarks.measure import available_cores
from loaders import Augment, IndexScheduler, make_loader, open_dataset

FOLDER = Path("build/jpeg")
AHEAD = 2  # batches that DALI prefetches, its default
AUGMENT = Augment(resize=224, random_resized_crop=(0.08, 1.0))


def canvas(rng: np.random.Generator, size: int = 1600) -> np.ndarray:
    """Octaves of smooth noise, the finer the weaker, which compress like photographs; float32 [size, size, 3]."""
    out = np.zeros((size, size, 3), np.float32)
    for octave in range(2, 11):
        cells = min(2**octave, size)
        noise = (rng.normal(size=(cells, cells, 3)) * 300 / 2 ** (octave * 0.62)).astype(np.float32)
        noise = noise * 0.3 + noise.mean(axis=2, keepdims=True)  # colour varies less than brightness
        for c in range(3):
            out[..., c] += np.asarray(Image.fromarray(noise[..., c]).resize((size, size), Image.Resampling.BICUBIC))
    return out


def make_set(folder: Path, num_samples: int) -> None:
    """Write the images to `folder`/source and convert them to `folder`/jpeg, unless that was done before."""
    if (folder / "jpeg" / "manifest.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    canvases = [canvas(rng) for _ in range(4)]
    for i in range(num_samples):
        (folder / "source" / f"{i % 10}").mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(400, 501, 2)
        whole = canvases[i % 4]
        top, left = rng.integers(0, len(whole) - height), rng.integers(0, len(whole) - width)
        pixels = whole[top : top + height, left : left + width] * rng.uniform(0.6, 1.2) + rng.uniform(90, 160)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / "source" / f"{i % 10}" / f"{i:05d}.jpg", quality=90
        )
    convert = [sys.executable, "-m", "convert.folder", str(folder / "source"), "--root", str(folder / "jpeg")]
    subprocess.run([*convert, "--format", "both"], check=True)


def ours(backend: str, path: Path, num_samples: int, batch_size: int) -> Callable[[], int]:
    """A call that takes all batches of one epoch of our loader; returns the number of images."""
    scheduler = IndexScheduler(num_samples_of(path), budget=num_samples / num_samples_of(path))
    loader = make_loader(path, batch_size, backend=backend, dtype=torch.uint8, augment=AUGMENT, scheduler=scheduler)
    return lambda: sum(len(batch.ids) for batch in loader)


def num_samples_of(path: Path) -> int:
    """Number of samples in a converted data set."""
    return open_dataset(path).num_samples


def stock_ffcv(path: Path, num_samples: int, batch_size: int) -> Callable[[], int]:
    """The same by FFCV's own Loader."""
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    loader = Loader(
        str(path),
        batch_size,
        available_cores(),
        order=OrderOption.RANDOM,
        indices=np.arange(num_samples_of(path))[:: num_samples_of(path) // num_samples][:num_samples],
        pipelines={"image": [RandomResizedCropRGBImageDecoder((224, 224))], "label": [IntDecoder()]},
        drop_last=False,
        os_cache=True,
    )
    return lambda: sum(len(images) for images, _ in loader)


def stock_dali(folder: Path, num_samples: int, batch_size: int) -> Callable[[], int]:
    """The same by a pipeline of DALI, from the JPEG files."""
    from nvidia.dali import fn, pipeline_def, types

    files = sorted(map(str, folder.glob("*/*.jpg")))
    files = files[:: len(files) // num_samples][:num_samples]

    @pipeline_def(batch_size=batch_size, num_threads=available_cores(), device_id=None, prefetch_queue_depth=AHEAD)
    def pipeline():
        streams, labels = fn.readers.file(files=files, random_shuffle=True, name="reader")
        images = fn.decoders.image_random_crop(streams, device="cpu", random_area=[0.08, 1.0])
        return fn.resize(images, size=[224, 224], interp_type=types.INTERP_LINEAR, antialias=True), labels

    pipe = pipeline()
    pipe.build()
    num_batches = -(-num_samples // batch_size)

    def take() -> int:
        images, _ = pipe.share_outputs()
        count = images.as_tensor().shape()[0]
        pipe.release_outputs()
        return count

    def epoch() -> int:
        # No batch is left in the making at the end: it would be made while a peer is timed.
        for _ in range(AHEAD):
            pipe.schedule_run()
        count = 0
        for batch in range(num_batches):
            count += take()
            if batch + AHEAD < num_batches:
                pipe.schedule_run()
        return count

    pipe.schedule_run()  # only the very first call schedules AHEAD batches by itself
    for _ in range(AHEAD):
        take()
    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the images are kept")
    parser.add_argument("--images", type=int, default=2000, help="in the set, when it is made")
    parser.add_argument("--samples", type=int, default=1024, help="in one repetition")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    make_set(arguments.folder, arguments.images)
    data, work = arguments.folder / "jpeg", (arguments.samples, arguments.batch_size)
    calls = {
        "ours, ffcv": ours("ffcv", data / "train.beton", *work),
        "stock FFCV": stock_ffcv(data / "train.beton", *work),
        "ours, dali": ours("dali", data / "train.beton", *work),
        "stock DALI": stock_dali(arguments.folder / "source", *work),
    }
    counts = {name: call() for name, call in calls.items()}
    times = measure.interleave(calls, arguments.repeats)
    for name, time in times.items():
        time["images_per_s"] = counts[name] / time["median_s"]
        spread = f"{time['median_s']:.3f} s ({time['q1_s']:.3f} to {time['q3_s']:.3f})"
        print(f"{name:12} {time['images_per_s']:8.0f} images/s   {spread}")
    rate = {name: time["images_per_s"] for name, time in times.items()}
    ratios = {
        "ours, ffcv / stock FFCV": rate["ours, ffcv"] / rate["stock FFCV"],
        "ours, dali / stock DALI": rate["ours, dali"] / rate["stock DALI"],
        "ours, ffcv / the faster peer": rate["ours, ffcv"] / max(rate["stock FFCV"], rate["stock DALI"]),
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    size = (data / "train.tar").stat().st_size / num_samples_of(data / "train.tar")
    result = {"environment": measure.environment(), "arguments": vars(arguments), "bytes_per_image": round(size)}
    result["arguments"]["folder"] = arguments.folder.name
    measure.write(arguments.json, {**result, "times": times, "ratios": ratios})


if __name__ == "__main__":
    main()
