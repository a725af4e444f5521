"""The fused CPU backend: one compiled kernel gathers and augments straight from the file's memory into the batch.

The file is resident through its memory map; no byte of it is copied before the kernel reads it.
"""

from loaders.batches import Settings, one_size
from loaders.dataset import DatasetFile
from loaders.feed import Feed


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a raw data set whose pictures have one size.

    Raises:
        ValueError: the file holds JPEG, or pictures of several sizes.
    """
    if dataset.kind != "raw":
        raise ValueError(f"backend 'fused' reads raw pixels, {dataset.path} holds JPEG: use backend='ffcv'")
    return Feed(dataset, one_size(dataset, "fused"), settings, lambda: lambda ids: (dataset.data, dataset.offsets, ids))
