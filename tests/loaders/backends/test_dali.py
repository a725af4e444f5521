"""The DALI backend around the images: one pipeline for all epochs, no leftovers, errors that name the sample."""

import gc
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from convert.writers.tar import write_tar
from loaders import Augment, EpochPlan, make_loader, open_dataset
from loaders.backends.dali_decoder import Decoder
from loaders.formats.jpeg.restart import with_restart_rows
from tests.loaders.backends.test_early_exit import held
from tests.loaders.backends.test_native import written
from tests.loaders.formats.jpeg.streams import SUBSAMPLINGS, encoded, smooth

pytestmark = pytest.mark.dali
AUGMENT = Augment(resize=32, random_resized_crop=(0.08, 1.0), flip=True)
PLAN = EpochPlan(np.arange(60) * 7 % 30, key=3)
WHOLE = EpochPlan(np.arange(12), key=3)


@pytest.fixture
def loader(photos):
    return make_loader(photos / "train.tar", 4, backend="dali", augment=AUGMENT, dtype=torch.uint8)


def pixels(loader, plan: EpochPlan = PLAN) -> torch.Tensor:
    return torch.cat([batch.images.clone() for batch in loader.epoch(plan)])


def test_one_pipeline_serves_all_epochs(loader, monkeypatch):
    built, build = [], Decoder._ready
    monkeypatch.setattr(Decoder, "_ready", lambda self, size: built.append(build(self, size)) or built[-1])
    first = pixels(loader)
    for length in (60, 1, 17, 60):
        plan = EpochPlan(PLAN.ids[:length], key=3)
        assert torch.equal(pixels(loader, plan), first[:length])
    assert len(built) == 5
    assert len({id(pipeline) for pipeline in built}) == 1


def test_a_damaged_image_is_named_and_the_loader_goes_on(photos, tmp_path):
    for name in ("train.tar", "train.idx"):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    options = {"backend": "dali", "augment": AUGMENT, "dtype": torch.uint8}
    loader = make_loader(tmp_path / "train.tar", 4, **options)
    wanted = pixels(loader, EpochPlan(np.arange(12)))
    start, size = loader.dataset.offsets[13], loader.dataset.sizes[13]
    with open(tmp_path / "train.tar", "r+b") as file:
        file.seek(start + 300)
        file.write(bytes(int(size) - 300))
    with pytest.raises(ValueError, match=r"the JPEG of sample 13 cannot be decoded"):
        pixels(loader, EpochPlan(np.arange(30)))
    assert torch.equal(pixels(loader, EpochPlan(np.arange(12))), wanted)


def test_streams_are_cut_where_their_rows_end_in_restart_markers(tmp_path, monkeypatch):
    """DALI is given fewer bytes, and makes the pixels that whole streams give, to the bit."""
    rng, given, made = np.random.default_rng(0), {}, {}
    plain = [encoded(smooth(rng, 90 + i, 120), SUBSAMPLINGS[i % 6]) for i in range(12)]
    source = Decoder._source
    for name, streams in (("plain", plain), ("rows", list(map(with_restart_rows, plain)))):
        sizes = given[name] = []

        def counted(self, info, sizes=sizes):
            inputs = source(self, info)
            sizes += map(len, inputs[0])
            return inputs

        monkeypatch.setattr(Decoder, "_source", counted)
        path, augment = written(tmp_path / f"{name}.tar", streams), Augment(resize=40, random_resized_crop=(0.05, 0.5))
        made[name] = pixels(make_loader(path, 4, backend="dali", augment=augment, dtype=torch.uint8), WHOLE)
    assert given["plain"] == [len(stream) for stream in plain]
    assert sum(given["rows"]) < 0.8 * sum(given["plain"])
    assert made["rows"].equal(made["plain"])


@pytest.mark.parametrize("resize", [0, 16])
def test_jpegs_of_another_size_than_their_records_are_refused(betons, tmp_path, resize):
    content, dataset = bytearray(betons["jpeg"].path.read_bytes()), open_dataset(betons["jpeg"].path)
    smaller = io.BytesIO()
    Image.new("RGB", (32, 16), (90, 120, 40)).save(smaller, "jpeg")
    for sample in range(8):  # whole batches, so that DALI's output is even
        start = dataset.offsets[sample]
        content[start : start + len(smaller.getvalue())] = smaller.getvalue()
    (tmp_path / "x.beton").write_bytes(content)
    augment = Augment(resize=resize, random_resized_crop=(0.08, 1.0)) if resize else Augment()
    loader = make_loader(tmp_path / "x.beton", 4, backend="dali", augment=augment, dtype=torch.uint8)
    others = EpochPlan(np.arange(8, 40))
    wanted = pixels(loader, others)
    with pytest.raises(ValueError, match=r"JPEG of sample 0 .* it is 16 x 32 pixels, its record says 24 x 40"):
        pixels(loader, EpochPlan(np.arange(40)))
    assert torch.equal(pixels(loader, others), wanted)


def test_png_tars_have_the_pixels_of_raw_betons(betons, tmp_path):
    beton = betons["odd"]
    write_tar(tmp_path / "odd.tar", beton.images, beton.labels)
    augment = Augment(crop_padding=4, flip=True, cutout=8)
    plan = EpochPlan(np.arange(90) * 5 % 97, key=1)
    from_tar, from_beton, reference = (
        [b.images.clone() for b in make_loader(path, 16, backend=name, augment=augment).epoch(plan)]
        for path, name in ((tmp_path / "odd.tar", "dali"), (beton.path, "dali"), (tmp_path / "odd.tar", "reference"))
    )
    for a, b, c in zip(from_tar, from_beton, reference, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(b, c)


@pytest.mark.parametrize("resize", [0, 20])
def test_raw_images_beside_jpeg_ones(betons, resize):
    """Both go through one decoder; the raw ones come out exact, or as exact as the resize is."""
    options = {"augment": Augment(resize=resize, flip=True), "dtype": torch.uint8}
    plan = EpochPlan(np.concatenate((np.arange(40)[::-1], [3, 3, 7])), key=4)
    loader, reference = (make_loader(betons["mixed"].path, 8, backend=b, **options) for b in ("dali", "reference"))
    raw = torch.from_numpy(~loader.dataset.is_jpeg[plan.ids])
    assert raw.any()
    assert not raw.all()
    apart = (pixels(loader, plan).int() - pixels(reference, plan).int()).abs()
    assert apart[raw].max() <= (2 if resize else 0)
    assert apart.float().mean() <= 0.5
    assert apart.max() <= 6


def test_a_loader_that_is_dropped_frees_its_threads(loader):
    augment = loader.settings.augment
    pixels(loader, EpochPlan(np.arange(8)))
    gc.collect()
    before = held()
    other = make_loader(loader.dataset.path, 4, backend="dali", augment=augment)
    pixels(other, EpochPlan(np.arange(8)))
    assert held()[1] > before[1]
    gc.disable()  # there is no circle that only the collector finds
    try:
        del other
        assert held() == before
    finally:
        gc.enable()


def test_a_missing_extra_is_one_sentence(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ImportError, match=r"backend \'dali\' needs NVIDIA DALI .* pip install nvidia-dali-cuda120"):
        make_loader(photos / "train.tar", 8, backend="dali", augment=AUGMENT)
