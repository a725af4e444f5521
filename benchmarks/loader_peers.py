"""The peers of `benchmarks.loaders`, each at its best: a function per peer that returns a call which makes one epoch.

All do the same work: a random order, a random crop after padding by 4 zeros, a random flip, and in float32 the
normalisation. The batches are taken and dropped, since what a consumer does with them is the same for all.
"""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch

from benchmarks.measure import available_cores
from loaders import Augment, make_loader, open_dataset

BATCH = 512
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
AUGMENT = Augment(crop_padding=4, flip=True, mean=MEAN, std=STD)

Epoch = Callable[[], object]


def drain(batches: Iterable, most: int | None = None) -> None:
    """Take all batches, or the first `most`."""
    for _ in itertools.islice(batches, most):
        pass


def rebar_loader(path: str, dtype: torch.dtype, backend: str = "fused", augment: Augment = AUGMENT) -> Iterable:
    """Our loader; each iteration is an epoch."""
    return make_loader(path, BATCH, backend=backend, dtype=dtype, augment=augment, drop_last=True)


def rebar(path: str, dtype: torch.dtype, backend: str = "fused", augment: Augment = AUGMENT) -> Epoch:
    """Our loader, one epoch a call."""
    loader = rebar_loader(path, dtype, backend, augment)
    return lambda: drain(loader)


def ffcv_loader(path: str, dtype: torch.dtype, more: str | None = None) -> Iterable:
    """FFCV's Loader in random order, as many workers as cores; `more` adds "cutout" or "mixup", made in uint8."""
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import (
        Cutout,
        ImageMixup,
        NormalizeImage,
        RandomHorizontalFlip,
        RandomTranslate,
        ToTensor,
        ToTorchImage,
    )

    image = [SimpleRGBImageDecoder(), RandomHorizontalFlip(), RandomTranslate(padding=4)]
    image += {None: [], "cutout": [Cutout(8)], "mixup": [ImageMixup(0.3, True)]}[more]
    if dtype == torch.float32:
        image.append(NormalizeImage(np.array(MEAN) * 255, np.array(STD) * 255, np.float32))
    image += [ToTensor(), ToTorchImage(convert_back_int16=False)]
    pipelines = {"image": image, "label": [IntDecoder(), ToTensor()]}
    torch_threads = torch.get_num_threads()
    loader = Loader(path, BATCH, available_cores(), order=OrderOption.RANDOM, pipelines=pipelines, drop_last=True)
    torch.set_num_threads(torch_threads)  # FFCV changes it for the whole process
    return loader


def ffcv(path: str, dtype: torch.dtype, more: str | None = None) -> Epoch:
    """FFCV's Loader, one epoch a call."""
    loader = ffcv_loader(path, dtype, more)
    return lambda: drain(loader)


class Images(torch.utils.data.Dataset):
    """CIFAR-10 in memory with the usual augmentation, one image at a time, in torch without torchvision."""

    def __init__(self, path: str, dtype: torch.dtype, num: int):
        dataset = open_dataset(path)
        height, width, _ = dataset.image_shape
        stored = np.stack([dataset.bytes(i).reshape(height, width, 3) for i in range(num)])
        self.padded = torch.nn.functional.pad(torch.from_numpy(stored).permute(0, 3, 1, 2), (4, 4, 4, 4))
        self.labels, self.size, self.dtype = dataset.labels[:num].tolist(), (height, width), dtype
        self.mean, self.std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        (y, x), flip = torch.randint(9, (2,)).tolist(), torch.rand(()) < 0.5
        image = self.padded[i, :, y : y + self.size[0], x : x + self.size[1]]
        image = image.flip(-1) if flip else image
        if self.dtype == torch.float32:
            image = image.float().div_(255).sub_(self.mean).div_(self.std)
        return image, self.labels[i]


def torch_dataloader(path: str, dtype: torch.dtype, num: int) -> Epoch:
    """torch's DataLoader over the first `num` images, with as many persistent workers as cores.

    Workers come from a fork server, since this process may hold threads of other loaders.
    """
    images = Images(path, dtype, num)
    options = {"num_workers": available_cores(), "persistent_workers": True, "shuffle": True, "drop_last": True}
    loader = torch.utils.data.DataLoader(images, BATCH, multiprocessing_context="forkserver", **options)
    return lambda: drain(loader)


def index_select(path: str, dtype: torch.dtype) -> Epoch:
    """A ceiling: torch gathers rows that have the output's type already into one buffer, without augmentation."""
    dataset = open_dataset(path)
    values = int(np.prod(dataset.image_shape))
    source = torch.zeros(dataset.num_samples, values, dtype=dtype)
    out = torch.empty(BATCH, values, dtype=dtype)

    def epoch() -> None:
        order = torch.randperm(len(source))
        for first in range(0, len(source) - BATCH + 1, BATCH):
            torch.index_select(source, 0, order[first : first + BATCH], out=out)

    return epoch


def plain_copy(path: str, dtype: torch.dtype) -> Epoch:
    """A ceiling: one buffer in the processor's cache is copied to another, as often as an epoch has batches."""
    dataset = open_dataset(path)
    source = torch.ones(BATCH, int(np.prod(dataset.image_shape)), dtype=dtype)
    out = torch.empty_like(source)

    def epoch() -> None:
        for _ in range(dataset.num_samples // BATCH):
            out.copy_(source)

    return epoch
