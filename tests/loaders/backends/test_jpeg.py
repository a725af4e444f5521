"""JPEG of several sizes through every backend: the boxes are equal, the pixels near those of the reference."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import Augment, EpochPlan, make_loader, open_dataset
from loaders.augment.crop import boxes
from loaders.engine import choose_backend

# Mean and largest distance from the reference in pixel values, for images like photographs (docs/formats.md names the
# causes). All resize as Pillow does, up to rounding; FFCV's inverse transform is the fast one.
TOLERANCE = {"native": (0.5, 6), "dali": (0.5, 6), "ffcv": (1.5, 16)}
BACKENDS = ["native", pytest.param("dali", marks=pytest.mark.dali), pytest.param("ffcv", marks=pytest.mark.ffcv)]
TRAIN = Augment(resize=64, random_resized_crop=(0.08, 1.0), flip=True)
AUGMENTS = {
    "random": TRAIN,
    "center": Augment(resize=48, center_crop=0.875),
    "enlarge": Augment(resize=160, random_resized_crop=(0.05, 0.2), flip=True),
    "halved": Augment(resize=20, random_resized_crop=(0.9, 1.0)),  # decoded at a half or a quarter of the size
    "all": Augment(resize=56, random_resized_crop=(0.25, 1.0), crop_padding=4, flip=True, cutout=12),
}


def order(num: int, seed: int = 0) -> EpochPlan:
    rng = np.random.default_rng(seed)
    return EpochPlan(rng.integers(0, 30, num), rng.random(num), key=2**63 + seed)


def copied(batches) -> list:
    return [batch._replace(images=batch.images.clone()) for batch in batches]


def assert_near(got, wanted, backend: str) -> None:
    for g, w in itertools.zip_longest(got, wanted):
        assert torch.equal(g.ids, w.ids)
        assert torch.equal(g.labels, w.labels)
        assert torch.equal(g.weights, w.weights)
        apart = (g.images.int() - w.images.int()).abs()
        mean, largest = TOLERANCE[backend]
        assert apart.float().mean() <= mean
        assert apart.max() <= largest


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("file", ["train.beton", "train.tar"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_are_near_those_of_the_reference(photos, backend, file, augment):
    options = {"augment": AUGMENTS[augment], "dtype": torch.uint8}
    loader, reference = (make_loader(photos / file, 8, backend=name, **options) for name in (backend, "reference"))
    for length in (21, 8, 3):  # short batches, repeats, changing lengths
        plan = order(length, seed=length)
        assert_near(loader.epoch(plan), reference.epoch(plan), backend)
    plan = order(21)
    for start in range(4):
        assert_near(loader.epoch(plan, start), list(reference.epoch(plan))[start:], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_raw_images_are_resized_too(betons, backend):
    options = {"augment": Augment(resize=16, random_resized_crop=(0.5, 1.0), flip=True), "dtype": torch.uint8}
    loader, reference = (
        make_loader(betons["square"].path, 16, backend=name, **options) for name in (backend, "reference")
    )
    for got, wanted in zip(loader.epoch(order(40)), reference.epoch(order(40)), strict=True):
        apart = (got.images.int() - wanted.images.int()).abs().float()
        assert apart.mean() <= 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_depend_on_neither_threads_nor_batch_size_nor_ranks(photos, backend):
    def pixels(plan: EpochPlan, batch_size: int, num_threads: int | None) -> torch.Tensor:
        options = {"augment": TRAIN, "dtype": torch.uint8, "num_threads": num_threads, "backend": backend}
        loader = make_loader(photos / "train.beton", batch_size, **options)
        return torch.cat([batch.images.clone() for batch in loader.epoch(plan)])

    plan = order(24)
    first = pixels(plan, 24, 1)
    for batch_size, num_threads in ((24, 3), (7, None), (1, 2)):
        assert torch.equal(pixels(plan, batch_size, num_threads), first)
    for rank in range(3):
        assert torch.equal(pixels(plan.shard(rank, 3), 4, None), first[rank::3])


def test_boxes_lie_inside_and_are_drawn_as_asked():
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(1, 500, 4000), rng.integers(1, 500, 4000)
    for augment in (TRAIN, Augment(resize=8, center_crop=0.5), Augment(resize=8, random_resized_crop=(1e-6, 1e-6))):
        top, left, height, width = boxes(augment, 7, np.arange(4000), heights, widths).T
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (height >= 1).all()
        assert (width >= 1).all()
        assert (top + height <= heights).all()
        assert (left + width <= widths).all()
    size = np.full(20_000, 400)
    top, left, height, width = boxes(TRAIN, 3, np.arange(20_000), size, size).T.astype(float)
    assert abs((height * width / 160_000).mean() - 0.5) < 0.03  # a little below 0.54: large boxes must fit
    assert abs(np.log(width / height).mean()) < 0.01
    assert abs((top / np.maximum(400 - height, 1)).mean() - 0.5) < 0.02
    assert abs((left / np.maximum(400 - width, 1)).mean() - 0.5) < 0.02


def test_golden_boxes():
    """Users rely on them: a run that goes on must see the pixels of the run that stopped."""
    sizes = np.full(4, 300), np.full(4, 400)
    assert boxes(TRAIN, 11, np.arange(4), *sizes).tolist() == [
        [26, 127, 250, 203],
        [96, 172, 198, 192],
        [25, 41, 247, 292],
        [22, 192, 229, 206],
    ]
    assert boxes(Augment(resize=8, center_crop=0.875), 11, np.arange(1), *(s[:1] for s in sizes)).tolist() == [
        [19, 69, 262, 262]
    ]


def test_the_box_shows_what_it_should(photos):
    """Without a resize that does work, the reference gives the stored pixels of the box."""
    dataset = open_dataset(photos / "train.tar")
    size = int(min(dataset.heights[0], dataset.widths[0]))
    loader = make_loader(photos / "train.tar", 1, backend="reference", dtype=torch.uint8, augment=Augment(resize=size))
    got = next(loader.epoch(EpochPlan(np.array([0])))).images[0].permute(1, 2, 0).numpy()
    stored = np.asarray(Image.open(sorted((photos.parent / "source" / "class0").iterdir())[0]))
    top, left = (stored.shape[0] - size) // 2, (stored.shape[1] - size) // 2
    assert np.array_equal(got, stored[top : top + size, left : left + size])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_resized_crop": (0.1, 1.0)}, "need an image size"),
        ({"resize": 8, "random_resized_crop": (0.0, 1.0)}, "two fractions of the image's area"),
        ({"resize": 8, "ratio": (2.0, 1.0)}, "ratio is two values"),
        ({"resize": 8, "center_crop": 1.5}, r"in \(0, 1\], got 1.5"),
        (
            {"resize": 8, "random_resized_crop": (0.1, 1.0), "center_crop": 0.875},
            r"got \(0\.1, 1\.0\) and 0\.875: set one of them",
        ),
        ({"resize": -1}, "resize is an image size in pixels"),
    ],
)
def test_bad_geometry_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(**options)


def test_images_of_several_sizes_need_a_resize(photos):
    with pytest.raises(ValueError, match=r"needs images of one size, those of .* set resize"):
        make_loader(photos / "train.beton", 8, backend="reference")


def test_auto_takes_native_for_all_that_is_decoded_or_resized(photos, betons):
    """For a GPU too: no GPU has run its decoders."""
    jpeg, mixed, raw = (open_dataset(path) for path in (photos / "train.tar", betons["mixed"].path, betons["odd"].path))
    for dataset, augment in ((jpeg, TRAIN), (mixed, Augment()), (raw, TRAIN)):
        assert choose_backend(dataset, augment) == "native"
    assert choose_backend(raw, Augment()) == "fused"
