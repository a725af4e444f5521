"""Grey images stay one channel, and become what the first channel of their RGB copies becomes."""

import importlib.util
import pickle

import numpy as np
import pytest
import torch

from convert.writers.beton import write_beton
from convert.writers.grey_beton import write_grey_beton
from loaders import RICAP, Augment, EpochPlan, Mixup, RandAugment, make_loader, open_dataset

PLAN = EpochPlan(np.array([5, 3, 3, 39, 0, 7, 21]), epoch=2, key=11)
GREY, RGB = {"mean": (0.3,), "std": (0.2,)}, {"mean": (0.3,) * 3, "std": (0.2,) * 3}
AUGMENTS = {
    "plain": {},
    "crop, flip and cutout": {"crop_padding": 3, "pad_mode": "reflect", "flip": True, "cutout": 4},
    "RICAP": {"mixer": RICAP(), "flip": True},
    "mixup": {"mixer": Mixup(), "crop_padding": 2},
    "RandAugment": {"randaugment": RandAugment(2, 9)},
    "RandAugment of Arazo et al.": {"randaugment": RandAugment(3, 4, "arazo"), "flip": True},
}
pytestmark = pytest.mark.ffcv


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The same 40 images as one channel and as three."""
    folder = tmp_path_factory.mktemp("grey")
    random = np.random.Generator(np.random.Philox(40))
    images, labels = random.integers(0, 256, (40, 14, 18, 1), np.uint8), np.arange(40)
    write_grey_beton(folder / "grey.beton", images, labels)
    write_beton(folder / "rgb.beton", np.repeat(images, 3, axis=3), labels)
    return folder / "grey.beton", folder / "rgb.beton"


@pytest.mark.parametrize("backend", ["fused", "native", "reference", "ffcv", "dali"])
@pytest.mark.parametrize("name", AUGMENTS)
def test_equal_to_the_rgb_copy(paths, backend, name):
    if backend == "dali" and importlib.util.find_spec("nvidia") is None:
        pytest.skip("needs the extra rebar-loaders[dali]")
    for dtype in (torch.uint8, torch.float32, torch.bfloat16):
        loaders = (
            make_loader(path, 3, backend=backend, dtype=dtype, augment=Augment(**AUGMENTS[name], **statistics))
            for path, statistics in zip(paths, (GREY, RGB), strict=True)
        )
        for grey, rgb in zip(*(loader.epoch(PLAN) for loader in loaders), strict=True):
            assert grey.images.shape == (len(grey.ids), 1, 14, 18)
            assert grey.images.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(grey.images, rgb.images[:, :1])
            assert torch.equal(grey.labels, rgb.labels)


def test_a_grey_data_set_in_hand(paths):
    dataset = open_dataset(paths[0])
    assert (dataset.channels, dataset.image_shape) == (1, (14, 18, 1))
    image, label = dataset[7]
    assert (image.shape, label) == ((14, 18, 1), 7)
    assert pickle.loads(pickle.dumps(dataset)).channels == 1
    loader = make_loader(paths[0], 4)
    assert loader.backend == "fused"
    assert next(iter(loader)).images.dtype == torch.float32, "the default mean and std fit one channel too"


def test_why_a_loader_of_grey_images_is_slow(paths):
    stages = make_loader(paths[0], 8, augment=Augment(flip=True, **GREY)).explain().stages
    assert min(stages.delivered, stages.augment) > 0


def test_what_grey_images_cannot(paths):
    with pytest.raises(ValueError, match=r"no quick backend resizes: leave the resize out, or convert .* --channels 3"):
        make_loader(paths[0], 4, augment=Augment(resize=8))
    small = make_loader(paths[0], 4, backend="reference", augment=Augment(resize=8))
    assert next(small.epoch(PLAN)).images.shape == (4, 1, 8, 8)
    with pytest.raises(
        ValueError, match=r"mean and std need 1 value, one a channel of .*grey\.beton, got \(0\.1, 0\.2"
    ):
        make_loader(paths[0], 4, augment=Augment(mean=(0.1, 0.2, 0.3), std=(1, 1, 1)))
    with pytest.raises(ValueError, match=r"mean and std need 3 values, one a channel of .*rgb\.beton, got \(0\.3,\)"):
        make_loader(paths[1], 4, augment=Augment(**GREY))
    with pytest.raises(ValueError, match="mean and std need 3 values, one a channel, or 1 of grey images"):
        make_loader(paths[0], 4, augment=Augment(mean=(0.1, 0.2), std=(1, 1)))
