"""JPEG and PNG of a `.beton` or a `.tar` decoded by NVIDIA DALI, in our order and cut by our draws.

DALI decodes and resizes. Its external source asks for batch i of the epoch; what it gets follows from i and the plan:
views of the file's map (DALI reads them in place) and the boxes of `loaders.geometry`. What comes after, up to the
normalised batch, is the kernel that every backend shares, so pixels of equal decoding are equal. Raw pictures that keep
their size have nothing to decode: the kernel reads them from the map; beside JPEG ones in the same file they are handed
to DALI as PPM streams, a header before a copy. DALI's own random numbers are not used.

The only file that imports `nvidia.dali`, when a loader is opened. Knows no order and no file format.
"""

import os
import weakref
from collections.abc import Iterator

import numpy as np

from loaders.batches import Settings, Span, delivered_shape
from loaders.dataset import DatasetFile
from loaders.feed import Feed, Pictures
from loaders.geometry import boxes
from loaders.parallel import available_cores
from loaders.reference import decode
from loaders.types import EpochPlan

AHEAD = 2  # batches that DALI holds ready or in the making
_MISSING = "backend 'dali' needs NVIDIA DALI ({reason}): pip install \"rebar-loaders[dali]\""
_ORPHANS = []  # pipelines of a parent process; taking one apart would wait for threads that a fork does not copy


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a data set whose pictures have one size or are resized to one.

    Raises:
        ImportError: DALI is not installed.
        ValueError: pictures of several sizes.
    """
    try:
        import nvidia.dali  # noqa: F401
    except ImportError as error:
        raise ImportError(_MISSING.format(reason=error)) from error
    shape = delivered_shape(dataset, settings.augment, "dali")
    if dataset.kind == "raw" and not settings.augment.resize:

        def fetch(plan: EpochPlan, todo: list[Span]) -> Iterator[Pictures]:
            for span in todo:
                yield dataset.data, dataset.offsets, plan.ids[span.first : span.last]

        return Feed(dataset, shape, settings, lambda: fetch)
    return Feed(dataset, shape, settings, lambda: Decoder(dataset, settings, shape).fetch)


class Decoder:
    """One pipeline of DALI, built when first needed and used for one epoch after the other.

    Args:
        dataset: the open file.
        settings: how to deliver.
        shape: (H, W, 3) of the decoded (and resized) pictures.
    """

    def __init__(self, dataset: DatasetFile, settings: Settings, shape: tuple[int, int, int]):
        self.dataset, self.settings = dataset, settings
        self._pipeline, self._owner = None, 0
        self._plan, self._todo = None, []
        self._offsets = np.arange(settings.batch_size) * (shape[0] * shape[1] * shape[2])
        self._rows = np.arange(settings.batch_size)
        self._offsets.flags.writeable = self._rows.flags.writeable = False

    def fetch(self, plan: EpochPlan, todo: list[Span]) -> Iterator[Pictures]:
        """The decoded pictures of each span; see `loaders.feed`."""
        pipeline = self._ready()
        self._plan, self._todo = plan, todo
        try:
            for span in todo:
                pipeline.schedule_run()
                (decoded,) = pipeline.share_outputs()
                pixels = np.asarray(decoded.as_tensor()).reshape(-1)
                pixels.flags.writeable = False
                yield pixels, self._offsets, self._rows[: span.last - span.first]
                del decoded, pixels
                pipeline.release_outputs()
        except RuntimeError as error:
            self._pipeline = None  # DALI's are of no use after an error
            self._name_culprit()
            raise RuntimeError(f"DALI could not decode pictures of {self.dataset.path}: {error}") from error
        finally:
            self._plan, self._todo = None, []  # what is in the making goes on; the next epoch waits for it

    def _source(self, batch) -> tuple:
        """The input of batch number `batch.iteration`: streams or raw pictures, and the boxes where there are any."""
        if batch.iteration >= len(self._todo):
            raise StopIteration
        dataset, augment = self.dataset, self.settings.augment
        span = self._todo[batch.iteration]
        ids = self._plan.ids[span.first : span.last]
        heights, widths = dataset.heights[ids], dataset.widths[ids]
        pictures = [dataset.bytes(sample) for sample in ids]
        if dataset.kind == "raw":
            pictures = [p.reshape(h, w, 3) for p, h, w in zip(pictures, heights, widths, strict=True)]
        elif dataset.kind == "mixed":
            for i in np.flatnonzero(~dataset.is_jpeg[ids]):
                pictures[i] = _as_ppm(pictures[i], heights[i], widths[i])
        if not augment.resize:
            return (pictures,)
        box = boxes(augment, self._plan.key, self._plan.positions[span.first : span.last], heights, widths)
        box = box.astype(np.int32)
        return pictures, box[:, :2].copy(), box[:, 2:].copy()

    def _ready(self):
        """The pipeline of this process, before its first batch."""
        if self._pipeline is not None and self._owner != os.getpid():
            _ORPHANS.append(self._pipeline)
            self._pipeline = None
        if self._pipeline is not None:
            self._rewind()
        if self._pipeline is None:
            # A weak reference makes no circle: the pipeline's threads end with the loader.
            source = weakref.WeakMethod(self._source)
            self._pipeline = _build(lambda batch: source()(batch), self.dataset, self.settings)
            self._owner = os.getpid()
        return self._pipeline

    def _rewind(self) -> None:
        """Take what the last epoch left in the making, so that the next one begins with its own first batch."""
        pipeline = self._pipeline
        pipeline.release_outputs()
        try:
            while True:
                pipeline.schedule_run()
                pipeline.share_outputs()
                pipeline.release_outputs()
        except StopIteration:
            pipeline.reset()
        except RuntimeError:
            self._pipeline = None  # a batch that nobody asked for could not be decoded

    def _name_culprit(self) -> None:
        """Raise the ValueError of the first picture of the epoch that the strict decoder cannot read either."""
        for span in self._todo:
            for sample in self._plan.ids[span.first : span.last]:
                decode(self.dataset, sample)


def _as_ppm(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Raw pixels as a stream of their own, that DALI may decode beside JPEG streams."""
    return np.concatenate((np.frombuffer(b"P6 %d %d 255\n" % (width, height), np.uint8), pixels))


def _build(source, dataset: DatasetFile, settings: Settings):
    """A pipeline on the CPU: source -> (decode the box | cut the box out) -> resize -> uint8 [B, H, W, 3]."""
    from nvidia.dali import Pipeline, fn, types

    raw, side = dataset.kind == "raw", settings.augment.resize
    pipeline = Pipeline(
        batch_size=settings.batch_size,
        num_threads=settings.num_threads or available_cores(),
        device_id=None,
        prefetch_queue_depth=AHEAD,
    )
    with pipeline:
        inputs = fn.external_source(
            source,
            num_outputs=3 if side else 1,
            batch=True,
            batch_info=True,
            no_copy=True,
            dtype=[types.UINT8, *([types.INT32] * 2 if side else [])],
            ndim=[3 if raw else 1, *([1] * 2 if side else [])],
            layout=["HWC" if raw else "", *([""] * 2 if side else [])],
        )
        options = {
            "device": "cpu",
            "output_type": types.RGB,
            "jpeg_fancy_upsampling": True,
            "adjust_orientation": False,  # no other backend looks at EXIF
        }
        if not side:
            images = fn.decoders.image(*inputs, **options)
        elif raw:
            images = fn.slice(*inputs, axis_names="HW")
        else:
            images = fn.decoders.image_slice(*inputs, axis_names="HW", **options)
        if side:
            images = fn.resize(images, size=[side, side], interp_type=types.INTERP_LINEAR, antialias=True)
        pipeline.set_outputs(images)
    pipeline.build()
    return pipeline
