"""The fused CPU backend: one compiled kernel gathers and augments straight from the file's memory into the batch.

The file is resident through its memory map; no byte of it is copied before the kernel reads it.
"""

from collections.abc import Iterator

from loaders.backends.batching import Settings, Span, one_size
from loaders.backends.host import Feed, Images
from loaders.formats.dataset import DatasetFile
from loaders.types import EpochPlan


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a raw data set whose images have one size.

    Raises:
        ValueError: the file holds JPEG, PNG or images of several sizes, or the images are to be resized.
    """
    shape = raw_shape(dataset, settings)

    def fetch(plan: EpochPlan, todo: list[Span]) -> Iterator[Images]:
        for span in todo:
            yield dataset.data, dataset.offsets, plan.ids[span.first : span.last]

    return Feed(dataset, shape, settings, lambda: fetch, batch_per_thread=True)


def raw_shape(dataset: DatasetFile, settings: Settings) -> tuple[int, int, int]:
    """(H, W, 3) of every image, on any device.

    Raises:
        ValueError: as in `open_backend`.
    """
    if dataset.kind != "raw":
        encoding, backend = ("PNG", "dali") if dataset.kind == "png" else ("JPEG", "ffcv")
        raise ValueError(f"backend 'fused' reads raw pixels, {dataset.path} holds {encoding}: use backend={backend!r}")
    if settings.augment.resize:
        raise ValueError("backend 'fused' does not resize: use backend='ffcv'")
    return one_size(dataset, "fused")
