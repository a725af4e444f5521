"""What `benchmarks.jpeg` compares: each function returns a call that delivers one epoch, and tells how many images.

All give uint8 batches of 224 x 224 pixels in host memory, on all cores, from boxes of the same distribution (each
draws its own). FFCV resizes by area, DALI and Rebar by a triangle filter; OpenCV's bilinear filter does not antialias,
which is less work.
"""

import ctypes
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import available_cores
from loaders import Augment, IndexScheduler, make_loader, open_dataset
from loaders.augment.crop import boxes
from loaders.formats.jpeg.cut import cut_box

AHEAD = 2  # batches that DALI prefetches, its default
SIZE = 224
CROPS = {
    "random-resized-crop": Augment(resize=SIZE, random_resized_crop=(0.08, 1.0)),
    "centre-crop": Augment(resize=SIZE, center_crop=0.875),
}
Epoch = Callable[[], int]


def ours(file: Path, backend: str, crop: str, batch_size: int) -> Epoch:
    """Rebar's loader."""
    scheduler = IndexScheduler(open_dataset(file).num_samples)
    options = {"backend": backend, "dtype": torch.uint8, "augment": CROPS[crop], "scheduler": scheduler}
    loader = make_loader(file, batch_size, **options)
    return lambda: sum(len(batch.ids) for batch in loader)


def ffcv(file: Path, crop: str, batch_size: int) -> Epoch:
    """FFCV's own Loader."""
    from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    size = (SIZE, SIZE)
    is_random = crop == "random-resized-crop"
    decoder = RandomResizedCropRGBImageDecoder(size) if is_random else CenterCropRGBImageDecoder(size, 0.875)
    loader = Loader(
        str(file),
        batch_size,
        available_cores(),
        order=OrderOption.RANDOM,
        pipelines={"image": [decoder], "label": [IntDecoder()]},
        drop_last=False,
        os_cache=True,
    )
    return lambda: sum(len(images) for images, _ in loader)


def dali(folder: Path, crop: str, batch_size: int, device_id: int | None = None) -> Epoch:
    """A pipeline of DALI, from the JPEG files; on a GPU where one is named."""
    from nvidia.dali import fn, pipeline_def, types

    files = sorted(map(str, folder.glob("*.jpg")))

    decoder = "cpu" if device_id is None else "mixed"

    @pipeline_def(batch_size=batch_size, num_threads=available_cores(), device_id=device_id, prefetch_queue_depth=AHEAD)
    def pipeline():
        streams, labels = fn.readers.file(files=files, random_shuffle=True, name="reader")
        filter = {"interp_type": types.INTERP_LINEAR, "antialias": True}
        if crop == "random-resized-crop":
            images = fn.decoders.image_random_crop(streams, device=decoder, random_area=[0.08, 1.0])
            return fn.resize(images, size=[SIZE, SIZE], **filter), labels
        images = fn.resize(fn.decoders.image(streams, device=decoder), resize_shorter=SIZE / 0.875, **filter)
        return fn.crop(images, crop=(SIZE, SIZE)), labels

    pipe = pipeline()
    pipe.build()
    num_batches = -(-len(files) // batch_size)

    def take() -> int:
        images, _ = pipe.share_outputs()
        count = images.as_tensor().shape()[0]
        pipe.release_outputs()
        return count

    def epoch() -> int:
        # No batch is left in the making at the end: it would be made while a peer is timed.
        for _ in range(min(AHEAD, num_batches)):
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


class Files(torch.utils.data.Dataset):
    """JPEG files for a `DataLoader`: simplejpeg decodes, OpenCV resizes the box."""

    def __init__(self, folder: Path, crop: str):
        self.files, self.augment = sorted(map(str, folder.glob("*.jpg"))), CROPS[crop]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        import cv2
        import simplejpeg

        with open(self.files[i], "rb") as file:
            image = simplejpeg.decode_jpeg(file.read(), "RGB")
        key = int.from_bytes(os.urandom(7), "big")
        sizes = (np.array([length]) for length in image.shape[:2])
        top, left, height, width = boxes(self.augment, key, np.array([i]), *sizes)[0]
        return cv2.resize(image[top : top + height, left : left + width], (SIZE, SIZE)), i % 10


def data_loader(folder: Path, crop: str, batch_size: int) -> Epoch:
    """torch's DataLoader with a worker process on each core, which stay alive."""
    import cv2

    cv2.setNumThreads(1)
    loader = torch.utils.data.DataLoader(
        Files(folder, crop), batch_size, shuffle=True, num_workers=available_cores(), persistent_workers=True
    )
    return lambda: sum(len(labels) for _, labels in loader)


def spdl(folder: Path, crop: str, batch_size: int) -> Epoch:
    """SPDL: a pipeline with as many threads as cores, over the same decoder and resize as the DataLoader's."""
    import cv2
    from spdl.pipeline import PipelineBuilder

    cv2.setNumThreads(1)
    files = Files(folder, crop)

    def source() -> Iterator[int]:
        return iter(np.random.default_rng().permutation(len(files)).tolist())

    def collated(items: list[tuple[np.ndarray, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = zip(*items, strict=True)
        return torch.from_numpy(np.stack(images)), torch.tensor(labels)

    def epoch() -> int:
        builder = PipelineBuilder().add_source(source())
        builder = builder.pipe(files.__getitem__, concurrency=available_cores()).aggregate(batch_size).pipe(collated)
        pipeline = builder.add_sink(3).build(num_threads=available_cores(), use_thread_output_queue=True)
        with pipeline.auto_stop():
            return sum(len(labels) for _, labels in pipeline)

    return epoch


def entropy_decoding(file: Path, crop: str | None) -> Epoch:
    """The ceiling: Huffman decoding alone of every stream, or of the part that its box needs, on all cores.

    libjpeg-turbo reads the coefficients (its function `jpeg_read_coefficients`, from the library that comes with
    Pillow), and no pixel is made.
    """
    from loaders.threads import for_blocks

    dataset, decode = open_dataset(file), _coefficient_reader()
    streams = [dataset.bytes(i) for i in range(dataset.num_samples)]
    if crop is not None:
        found = boxes(CROPS[crop], 7, np.arange(len(streams)), dataset.heights, dataset.widths)
        out = np.empty(int(dataset.sizes.max()), np.uint8)
        for i, (top, left, height, width) in enumerate(found.tolist()):
            size = cut_box(streams[i], top, left, top + height, left + width, out).size
            streams[i] = out[:size].copy() if size > 0 else streams[i]

    def work(first: int, last: int) -> None:
        for stream in itertools.islice(streams, first, last):
            decode(stream)

    def epoch() -> int:
        for_blocks(work, len(streams))
        return len(streams)

    return epoch


def _coefficient_reader() -> Callable[[np.ndarray], None]:
    import PIL

    (path,) = Path(PIL.__file__).parent.parent.glob("pillow.libs/libjpeg*")
    library = ctypes.CDLL(str(path))
    library.jpeg_std_error.restype = library.jpeg_read_coefficients.restype = ctypes.c_void_p
    struct_bytes, abi = 632, 62  # of libjpeg-turbo on 64 bits; it refuses others

    def decode(stream: np.ndarray) -> None:
        error, state = ctypes.create_string_buffer(1024), ctypes.create_string_buffer(struct_bytes)
        ctypes.cast(state, ctypes.POINTER(ctypes.c_void_p))[0] = library.jpeg_std_error(error)
        library.jpeg_CreateDecompress(state, abi, ctypes.c_size_t(struct_bytes))
        library.jpeg_mem_src(state, ctypes.c_void_p(stream.ctypes.data), ctypes.c_ulong(len(stream)))
        library.jpeg_read_header(state, 1)
        library.jpeg_read_coefficients(state)
        library.jpeg_destroy_decompress(state)

    return decode
