"""JPEG decoded on a device by a function that is given: ids, order, boxes and pixels, and what the CPU has to decode.

Without a GPU the same code runs on tensors of the CPU, with simplejpeg and nvImageCodec's CPU decoder in place of a
GPU's, so all but the decoder and the streams is tried. A GPU's decoder rounds in its own way: see `TOLERANCE`.
"""

import contextlib
import importlib
import io
import math
import sys
import threading
import warnings

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from loaders import RICAP, Augment, EpochPlan, RandAugment, make_loader, open_dataset
from loaders.backends.batching import Settings, delivered_shape, spans
from loaders.backends.gpu import decoding as module
from loaders.backends.gpu import nvimgcodec as nvimgcodec_module
from loaders.backends.gpu.decoding import decoding, resize_into
from loaders.backends.gpu.nvimgcodec import decoder, open_on_device
from loaders.backends.gpu.transfer import OnDevice
from loaders.engine import open_engine
from loaders.formats.jpeg.restart import with_restart_rows
from tests.loaders.backends.test_backends import STATISTICS
from tests.loaders.backends.test_fused_gpu import on_host
from tests.loaders.backends.test_native import four_colours, written
from tests.loaders.formats.jpeg.streams import SUBSAMPLINGS, by_pillow, encoded, smooth

TOLERANCE = {"cpu": (0.5, 1), "cuda": (2.0, 24)}  # mean and largest distance from the reference, in pixel values
RESIZED = Augment(resize=64, random_resized_crop=(0.1, 1.0))
REPEATS = EpochPlan(np.array([3, 3, 7, 0, 29, 5, 5, 5, 1]), np.linspace(0.5, 1.5, 9), key=9)
BATCH = 4
CPU = torch.device("cpu")
nvimgcodec = pytest.mark.nvimgcodec
pytestmark = pytest.mark.filterwarnings("ignore:.*decoded on the CPU and copied:UserWarning")


def by_simplejpeg(streams: list[np.ndarray]) -> list[torch.Tensor | None]:
    """What a decoder for a device does, by libjpeg-turbo: None where a stream is damaged."""
    images = []
    for stream in streams:
        try:
            images.append(torch.from_numpy(simplejpeg.decode_jpeg(stream, "RGB")))
        except ValueError:
            images.append(None)
    return images


class Fetching:
    """The images of a file, decoded and resized on a device, as they are before all kernels."""

    def __init__(self, path, augment=RESIZED, decode=by_simplejpeg, device=CPU):
        self.dataset, self.settings, self.device = open_dataset(path), Settings(BATCH, torch.uint8, augment), device
        self.shape = delivered_shape(self.dataset, augment, "x")
        self.fetch = decoding(self.dataset, self.settings, self.shape, device, lambda: decode)()

    def epoch(self, plan: EpochPlan = REPEATS, start_batch: int = 0):
        todo = spans(plan, self.dataset, self.settings, start_batch)
        with contextlib.closing(self.fetch(plan, todo)) as fetched:
            for span, (data, starts) in zip(todo, fetched, strict=True):
                assert starts.tolist() == [i * math.prod(self.shape) for i in range(span.last - span.first)]
                yield data.view(-1, *self.shape)[: len(starts)].clone().cpu()

    def check(self, plan: EpochPlan = REPEATS, start_batch: int = 0) -> None:
        """Pixels are near the reference's, batch by batch."""
        options = {"augment": self.settings.augment, "dtype": torch.uint8}
        wanted = make_loader(self.dataset.path, BATCH, backend="reference", **options).epoch(plan, start_batch)
        for mine, theirs in zip(self.epoch(plan, start_batch), wanted, strict=True):
            apart = (mine.float() - theirs.images.permute(0, 2, 3, 1).float()).abs()
            mean, largest = TOLERANCE[self.device.type]
            assert apart.mean() <= mean
            assert apart.max() <= largest


@pytest.fixture(scope="module")
def paths(betons, photos):
    return {"jpeg": betons["jpeg"].path, "mixed": betons["mixed"].path, "photos": photos / "train.tar"}


@pytest.fixture(params=["simplejpeg", pytest.param("nvimgcodec", marks=nvimgcodec)])
def decode(request, device):
    """A decoder for the device."""
    if request.param == "nvimgcodec":
        return decoder(device, 1)
    return lambda streams: [image if image is None else image.to(device) for image in by_simplejpeg(streams)]


@pytest.mark.parametrize(
    ("file", "augment"),
    [
        ("jpeg", Augment()),
        ("mixed", Augment()),
        ("mixed", Augment(resize=20, random_resized_crop=(0.1, 1.0))),
        ("photos", RESIZED),
        ("photos", Augment(resize=60, center_crop=0.8)),
    ],
)
def test_pixels_are_near_the_references(paths, device, decode, file, augment):
    """With repeats and a short last batch; progressive streams and raw pixels among the others."""
    Fetching(paths[file], augment, decode, device).check()


def test_any_epoch_after_any_other(paths, device, decode):
    """Lengths that change, a run that resumes, an early break, ranks: one decoder and its two buffers for all."""
    one = Fetching(paths["photos"], RESIZED, decode, device)
    for length in (2, 9, 5):
        one.check(EpochPlan(REPEATS.ids[:length], key=length))
    one.check(start_batch=1)
    one.check(start_batch=3)
    batches = one.epoch()
    next(batches)
    batches.close()
    one.check(REPEATS.shard(1, 2))
    assert not [t for t in threading.enumerate() if t.name == "rebar-prefetch" and t.is_alive()]


@nvimgcodec
@pytest.mark.parametrize(
    ("augment", "dtype"),
    [
        (Augment(resize=12, random_resized_crop=(0.1, 1.0), flip=True, mixer=RICAP()), torch.uint8),
        (Augment(resize=9, center_crop=0.8, flip="alternating", **STATISTICS), torch.float32),
    ],
)
def test_batches_are_those_of_the_host(paths, device, augment, dtype):
    """The feed of the backend: ids, labels, weights and mixes, and near pixels after all kernels."""
    feed = open_on_device(open_dataset(paths["jpeg"]), Settings(BATCH, dtype, augment), device)
    plan = EpochPlan(REPEATS.ids[:5], REPEATS.weights[:5], key=9)
    batches = list(feed.epoch(plan))
    assert all(batch.images.device.type == device.type for batch in batches)
    mean, largest = (bound / (1 if dtype == torch.uint8 else 50) for bound in TOLERANCE[device.type])
    host = make_loader(paths["jpeg"], BATCH, backend="native", augment=augment, dtype=dtype)
    for got, wanted in zip(on_host(batches), host.epoch(plan), strict=True):
        assert all(map(torch.equal, got[1:4], wanted[1:4]))
        assert (got.mix is None) == (wanted.mix is None)
        assert got.mix is None or all(map(torch.equal, got.mix, wanted.mix))
        apart = (got.images.float() - wanted.images.float()).abs()
        assert apart.mean() <= mean
        assert apart.max() <= largest


@pytest.fixture
def plain() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encoded(smooth(rng, 120 + i, 150), SUBSAMPLINGS[i % 6]) for i in range(12)]


def test_a_decoder_is_given_the_part_that_a_box_needs(plain, tmp_path):
    """Fewer bytes where restart markers divide the rows, and the same pixels to the bit."""
    given, batches = {}, {}
    for name, streams in (("plain", plain), ("rows", list(map(with_restart_rows, plain)))):
        sizes = given[name] = []

        def decode(streams, sizes=sizes):
            sizes += map(len, streams)
            return by_simplejpeg(streams)

        augment = Augment(resize=40, random_resized_crop=(0.1, 0.4))
        path = written(tmp_path / f"{name}.tar", streams)
        batches[name] = torch.cat(list(Fetching(path, augment, decode).epoch(EpochPlan(np.arange(12), key=3))))
    assert given["plain"] == [len(stream) for stream in plain]
    assert sum(given["rows"]) < 0.8 * sum(given["plain"])
    assert batches["rows"].equal(batches["plain"])


def test_what_the_decoder_does_not_know_is_decoded_by_the_cpu(plain, tmp_path):
    """Progressive, of four colours, or refused by the decoder: `native`'s pixels to the bit, and one warning."""
    pixels = smooth(np.random.default_rng(1), 90, 80)
    others = [by_pillow(pixels, progressive=True), four_colours(pixels)]
    path = written(tmp_path / "x.tar", [plain[0], *others, plain[1]])
    plan, given = EpochPlan(np.array([0, 1, 2, 3, 1]), key=2), []

    def decode(streams):
        given.extend(map(len, streams))
        return [None if len(stream) == len(plain[1]) else by_simplejpeg([stream])[0] for stream in streams]

    augment = Augment(resize=50, center_crop=0.9)
    one = Fetching(path, augment, decode)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        batches = [*one.epoch(plan), *one.epoch(plan)]
    assert given == [len(plain[0]), len(plain[1])] * 2
    (sentence,) = (str(each.message) for each in said)
    assert sentence.startswith(f"{path}: sample 1 is no baseline JPEG")
    host = make_loader(path, BATCH, backend="native", dtype=torch.uint8, augment=augment)
    wanted = torch.cat([batch.images.permute(0, 2, 3, 1) for batch in host.epoch(plan)])
    got = torch.cat(batches[:2])
    assert got[1:].equal(wanted[1:])
    assert (got[0].int() - wanted[0].int()).abs().max() <= 1


def test_buffers_that_inference_mode_began_serve_every_epoch(paths):
    """A test set is evaluated in that mode; the thread that fills the buffers is not in it."""
    one = Fetching(paths["photos"])
    with torch.inference_mode():
        one.check()
    one.check()


def test_a_damaged_image_is_named_and_the_next_epoch_goes_on(paths, device, decode, tmp_path):
    dataset, content = open_dataset(paths["jpeg"]), np.fromfile(paths["jpeg"], np.uint8)
    content[dataset.offsets[23] + 300 : dataset.offsets[23] + dataset.sizes[23]] = 0
    content.tofile(tmp_path / "damaged.beton")
    one = Fetching(tmp_path / "damaged.beton", Augment(resize=20), decode, device)
    with pytest.raises(ValueError, match="the JPEG of sample 23 cannot be decoded"):
        list(one.epoch(EpochPlan(np.array([3, 7, 11, 2, 23, 5]))))
    one.check()


def test_a_stream_without_its_end_is_refused_whatever_the_decoder_makes_of_it(plain, tmp_path):
    path = written(tmp_path / "x.tar", [plain[0], plain[2][:-40]])
    one = Fetching(
        path, Augment(resize=16), lambda streams: [torch.zeros(122, 150, 3, dtype=torch.uint8)] * len(streams)
    )
    with pytest.raises(ValueError, match="the JPEG of sample 1 cannot be decoded"):
        list(one.epoch(EpochPlan(np.arange(2))))


def test_markers_out_of_order_are_refused(plain, tmp_path):
    stream = with_restart_rows(plain[2])
    marker = stream.index(b"\xff\xd4")
    path = written(tmp_path / "x.tar", [plain[0], stream[:marker] + b"\xff\xd0" + stream[marker + 2 :]])
    with pytest.raises(ValueError, match=r"the JPEG of sample 1 cannot be decoded: it is not whole, or its restart"):
        list(Fetching(path, Augment(resize=16, center_crop=0.2)).epoch(EpochPlan(np.arange(2))))


def test_few_bytes_are_decoded_at_once(plain, tmp_path, monkeypatch):
    """However large a batch is; an image that is larger than that is decoded alone."""
    path, counts = written(tmp_path / "x.tar", plain), []

    def decode(streams):
        counts.append(len(streams))
        return by_simplejpeg(streams)

    monkeypatch.setattr(module, "AT_ONCE", 2 * 3 * 150 * 131)
    Fetching(path, Augment(resize=64, center_crop=0.9), decode).check(EpochPlan(np.arange(12)))
    assert counts == [2, 2] * 3
    counts.clear()
    monkeypatch.setattr(module, "AT_ONCE", 1)
    Fetching(path, Augment(resize=64, center_crop=0.9), decode).check(EpochPlan(np.arange(4)))
    assert counts == [1] * 4


@pytest.mark.parametrize("steepest", [module.STEEPEST, 0])
@pytest.mark.parametrize("size", [7, 32, 90])
def test_the_resize_is_pillows_up_to_rounding(monkeypatch, size, steepest):
    """Also by the weights that are used where the image shrinks by more than torch's own resize can do on a GPU."""
    monkeypatch.setattr(module, "STEEPEST", steepest)
    rng, out = np.random.default_rng(size), torch.empty(size, size, 3, dtype=torch.uint8)
    for _ in range(10):
        pixels = smooth(rng, *(int(side) for side in rng.integers(20, 150, 2)))
        top, left = (int(rng.integers(0, side - 10)) for side in pixels.shape[:2])
        height, width = int(rng.integers(1, len(pixels) - top + 1)), int(rng.integers(1, pixels.shape[1] - left + 1))
        resize_into(out, torch.from_numpy(pixels.copy()), top, left, height, width)
        box = Image.fromarray(pixels[top : top + height, left : left + width])
        wanted = np.asarray(box.resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(out.numpy().astype(int) - wanted).max() <= 1


def test_a_large_image_becomes_a_thumbnail(device):
    """By a ratio that torch's own resize refuses on a GPU."""
    pixels = smooth(np.random.default_rng(4), 1200, 1000)
    out = torch.empty(8, 8, 3, dtype=torch.uint8, device=device)
    resize_into(out, torch.from_numpy(pixels.copy()).to(device), 0, 0, 1200, 1000)
    wanted = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
    assert np.abs(out.cpu().numpy().astype(int) - wanted).max() <= 1


@nvimgcodec
def test_the_decoder_takes_batches_of_any_length(plain):
    """Its memory is used again, also for larger images; a stream that is damaged, or none at all, gives None."""
    decode = decoder(CPU, 1)
    for streams in (plain[:2], plain[2:3], plain[4:9], [plain[11], b"\xff\xd8\xff nothing"], plain[:5]):
        images = decode([np.frombuffer(stream, np.uint8) for stream in streams])
        for stream, image in zip(streams, images, strict=True):
            if stream in plain:
                assert np.array_equal(image.numpy(), np.asarray(Image.open(io.BytesIO(stream)).convert("RGB")))
            else:
                assert image is None


@nvimgcodec
def test_a_decoder_keeps_no_memory_of_large_images(plain, monkeypatch):
    """In the course of many batches each place of a batch meets the largest image."""
    kept = []

    class Watched:
        def __init__(self, library):
            self.library = library

        def decode(self, streams, images, **options):
            kept.append(images is not None)
            return self.library.decode(streams, images=images, **options)

    library, streams = importlib.import_module("nvidia.nvimgcodec"), [np.frombuffer(each, np.uint8) for each in plain]
    monkeypatch.setattr(library, "Decoder", lambda make=library.Decoder, **options: Watched(make(**options)))
    monkeypatch.setattr(nvimgcodec_module, "_KEPT", 4 * 3 * 150 * 131)
    decode = decoder(CPU, 1)
    for count in (4, 3, 12, 4):
        decode(streams[:count])
    assert kept == [False, True, False, False]


@nvimgcodec
def test_where_the_batches_are_made_is_told(betons, paths):
    gpu = torch.device("cuda", 0)
    for path, augment, reason in (
        (paths["jpeg"], Augment(randaugment=RandAugment()), "RandAugment runs on the host"),
        (betons["odd"].path, Augment(resize=8), "none of the images is a JPEG"),
    ):
        engine, residence = open_engine("nvimgcodec", open_dataset(path), Settings(4, augment=augment), gpu)
        assert isinstance(engine, OnDevice)
        assert residence == (
            f"batches made on the host and copied to cuda:0: {reason}; decoded there by backend 'native'"
        )
    _, residence = open_engine("nvimgcodec", open_dataset(paths["jpeg"]), Settings(4), CPU)
    assert residence == "batches made on the host; decoded there by backend 'native'"


def test_a_missing_extra_is_one_sentence(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(ImportError, match=r"backend 'nvimgcodec' needs NVIDIA nvImageCodec .* pip install 'nvidia-nv"):
        open_on_device(open_dataset(paths["photos"]), Settings(4, augment=RESIZED), CPU)


@nvimgcodec
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_loader_on_a_gpu_decodes_there(paths):
    loader = make_loader(paths["photos"], 4, backend="nvimgcodec", device="cuda", dtype=torch.uint8, augment=RESIZED)
    assert loader.residence.startswith("images decoded and batches made on cuda")
    kept = list(loader.epoch(REPEATS))  # buffers are used again, batches are not
    again = list(loader.epoch(REPEATS))
    assert all(a.images.equal(b.images) for a, b in zip(kept, again, strict=True))
