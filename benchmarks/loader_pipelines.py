"""Two more peers of `benchmarks.loaders`, DALI and SPDL, each as its users write it for images held in memory.

The images are padded once, before the clock starts; each batch gathers its rows, then crops, flips and normalises.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.loader_peers import BATCH, MEAN, STD
from benchmarks.measure import available_cores
from loaders import open_dataset

PAD = 4


def padded_images(path: str) -> tuple[np.ndarray, np.ndarray]:
    """All images with zeros around them, uint8 [N, H + 8, W + 8, 3], and their labels [N]."""
    dataset = open_dataset(path)
    stored = np.stack([dataset.bytes(i) for i in range(dataset.num_samples)]).reshape(-1, *dataset.image_shape)
    return np.pad(stored, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))), np.asarray(dataset.labels)


def index_batches(num_samples: int) -> Iterator[np.ndarray]:
    """The ids of one epoch: whole batches of a random order."""
    order = np.random.default_rng().permutation(num_samples)
    for first in range(0, num_samples - BATCH + 1, BATCH):
        yield order[first : first + BATCH]


def dali(path: str, dtype: torch.dtype) -> Callable[[], object]:
    """DALI on the CPU: batches enter by `external_source`, one operator does the rest."""
    from nvidia.dali import fn, pipeline_def, types

    padded, labels = padded_images(path)
    height, width = (side - 2 * PAD for side in padded.shape[1:3])
    floats = dtype == torch.float32
    normalise = {"mean": [255 * m for m in MEAN], "std": [255 * s for s in STD]} if floats else {}

    def source() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            for ids in index_batches(len(padded)):
                yield padded[ids], labels[ids]

    @pipeline_def(batch_size=BATCH, num_threads=available_cores(), device_id=None, prefetch_queue_depth=2)
    def pipeline():
        images, targets = fn.external_source(source=source(), num_outputs=2, batch=True, layout=["HWC", ""])
        anchors = [i / (2 * PAD) for i in range(2 * PAD + 1)]
        images = fn.crop_mirror_normalize(
            images,
            crop=(height, width),
            crop_pos_x=fn.random.uniform(values=anchors),
            crop_pos_y=fn.random.uniform(values=anchors),
            mirror=fn.random.coin_flip(),
            dtype=types.FLOAT if floats else types.UINT8,
            **normalise,
        )
        return images, targets

    pipe = pipeline()
    pipe.build()

    def epoch() -> None:
        for _ in range(len(padded) // BATCH):
            pipe.run()

    return epoch


def spdl(path: str, dtype: torch.dtype) -> Callable[[], object]:
    """SPDL: NumPy gathers and augments whole batches of ids, in as many threads as cores."""
    from spdl.pipeline import PipelineBuilder

    padded, labels = padded_images(path)
    rows, columns = padded.shape[1] - 2 * PAD, 3 * (padded.shape[2] - 2 * PAD)
    flat = padded.reshape(*padded.shape[:2], -1)  # a row's pixels side by side, so that a window is copied row by row
    windows = np.lib.stride_tricks.sliding_window_view(flat, (rows, columns), axis=(1, 2))[:, :, ::3]
    scale = np.tile(1 / (255 * np.array(STD)), columns // 3).astype(np.float32)  # of a whole row, for long inner loops
    shift = np.tile(np.array(MEAN) / STD, columns // 3).astype(np.float32)

    def load(ids: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng()
        y, x = rng.integers(0, 2 * PAD + 1, (2, len(ids)))
        images = windows[ids, y, x].reshape(len(ids), rows, -1, 3)
        flip = rng.random(len(ids)) < 0.5
        images[flip] = images[flip, :, ::-1]
        if dtype == torch.float32:
            images = np.multiply(images.reshape(len(ids), rows, columns), scale, dtype=np.float32)
            images -= shift
        return torch.from_numpy(images.reshape(len(ids), rows, -1, 3)), torch.from_numpy(labels[ids])

    def epoch() -> None:
        builder = PipelineBuilder().add_source(index_batches(len(padded)))
        builder.pipe(load, concurrency=available_cores()).add_sink(3)
        pipeline = builder.build(num_threads=available_cores(), use_thread_output_queue=True)
        with pipeline.auto_stop():
            for _ in pipeline:
                pass

    return epoch
