"""The backend `native`: streams with restart rows, of four colours, and what is refused."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from convert.writers.streams import Streams
from convert.writers.tar import write_jpeg_tar
from loaders import Augment, EpochPlan, make_loader, open_dataset
from loaders.formats.jpeg.restart import with_restart_rows
from tests.loaders.formats.jpeg.streams import SUBSAMPLINGS, by_pillow, decoded, encoded, smooth

RANDOM = Augment(resize=40, random_resized_crop=(0.05, 0.6), flip=True)


def four_colours(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def streams() -> list[bytes]:
    """JPEG of every subsampling with restart rows, one without, one progressive, one of four colours."""
    rng = np.random.default_rng(0)
    images = [smooth(rng, *(int(length) for length in rng.integers(40, 150, 2))) for _ in range(12)]
    made = [with_restart_rows(encoded(images[i], SUBSAMPLINGS[i % 6])) for i in range(9)]
    return [*made, encoded(images[9], "420"), by_pillow(images[10], progressive=True), four_colours(images[11])]


def written(path, streams: list[bytes]):
    sizes = [Image.open(io.BytesIO(stream)).size for stream in streams]
    widths, heights = np.array(sizes).T
    offsets = np.cumsum([0, *map(len, streams)])
    labels = np.arange(len(streams)) % 10
    data = np.frombuffer(b"".join(streams), np.uint8)
    write_jpeg_tar(path, Streams(data, offsets, heights, widths, labels, np.zeros((3, 256), np.int64)))
    return path


def deliver(path, backend: str, augment: Augment, ids: np.ndarray) -> torch.Tensor:
    loader = make_loader(path, 8, backend=backend, dtype=torch.uint8, augment=augment)
    return torch.cat([batch.images.clone() for batch in loader.epoch(EpochPlan(ids, key=5))])


@pytest.mark.parametrize("augment", [RANDOM, Augment(resize=40, center_crop=0.5)], ids=["random", "center"])
def test_pixels_are_those_of_the_reference_up_to_rounding(streams, tmp_path, augment):
    path, ids = written(tmp_path / "x.tar", streams), np.random.default_rng(1).integers(0, len(streams), 60)
    got, wanted = (deliver(path, backend, augment, ids).int() for backend in ("native", "reference"))
    assert (got - wanted).abs().max() <= 1


def test_restart_rows_change_no_pixel(streams, tmp_path):
    plain = [encoded(smooth(np.random.default_rng(i), 100, 90), SUBSAMPLINGS[i]) for i in range(6)]
    paths = [
        written(tmp_path / "plain.tar", plain),
        written(tmp_path / "rows.tar", list(map(with_restart_rows, plain))),
    ]
    ids = np.arange(60) % 6
    first, second = (deliver(path, "native", RANDOM, ids) for path in paths)
    assert torch.equal(first, second)


def test_images_that_are_not_resized(tmp_path):
    plain = [encoded(smooth(np.random.default_rng(i), 33, 41), SUBSAMPLINGS[i]) for i in range(6)]
    path = written(tmp_path / "x.tar", [*map(with_restart_rows, plain), *plain])
    got, wanted = (deliver(path, backend, Augment(), np.arange(12)) for backend in ("native", "reference"))
    assert torch.equal(got, wanted)
    assert torch.equal(got[:6], got[6:])


@pytest.mark.parametrize("resize", [0, 16])
def test_wrong_markers_are_refused_by_sample_and_file(tmp_path, resize):
    """Also where the box needs other rows than those that are damaged."""
    stream = with_restart_rows(encoded(smooth(np.random.default_rng(2), 90, 90), "420"))
    marker = stream.index(b"\xff\xd4")
    path = written(tmp_path / "x.tar", [stream, stream[:marker] + b"\xff\xd0" + stream[marker + 2 :]])
    augment = Augment(resize=resize, center_crop=0.2) if resize else Augment()
    message = r"x\.tar: the JPEG of sample 1 cannot be decoded: it is not whole, or its restart markers"
    with pytest.raises(ValueError, match=message) as error:
        deliver(path, "native", augment, np.arange(2))
    assert "\n" not in str(error.value)


def test_png_and_webp_beside_jpeg(tmp_path):
    """A tar of three kinds is delivered as it decodes, and the loader says which of them are slow."""
    rng, members, lines = np.random.default_rng(3), io.BytesIO(), []
    kinds = [("png", {}), ("webp", {"lossless": True}), ("webp", {"quality": 80}), ("webp", {"exif": b"Exif\0\0MM"})]
    kinds.append(("jpeg", {"quality": 90}))
    wanted = []
    with tarfile.open(fileobj=members, mode="w") as archive:
        for i, (kind, options) in enumerate(kinds):
            stream = io.BytesIO()
            Image.fromarray(smooth(rng, 40 + i, 50 - i)).save(stream, kind, **options)
            wanted.append(decoded(stream.getvalue()))
            words = []
            for extension, content in ((kind, stream.getvalue()), ("cls", b"%d" % i)):
                member = tarfile.TarInfo(f"{i}.{extension}")
                member.size, offset = len(content), members.tell() + 512
                archive.addfile(member, io.BytesIO(content))
                words += [extension, str(offset), str(len(content)), member.name]
            lines.append(" ".join(words))
    (tmp_path / "x.tar").write_bytes(members.getvalue())
    (tmp_path / "x.idx").write_text("\n".join([f"v1.2 {len(lines)}", *lines]) + "\n")
    dataset = open_dataset(tmp_path / "x.tar")
    assert [(int(h), int(w)) for h, w in zip(dataset.heights, dataset.widths, strict=True)] == [
        image.shape[:2] for image in wanted
    ]
    augment = Augment(resize=20, center_crop=0.8)
    got, theirs = (deliver(tmp_path / "x.tar", name, augment, np.arange(5)).int() for name in ("native", "reference"))
    assert (got - theirs).abs().max() <= 1
    residence = make_loader(tmp_path / "x.tar", 2, augment=augment).residence
    assert "4 of 5 images are PNG or WebP, which Pillow decodes about 12 and 7 times slower" in residence


def test_large_boxes_are_decoded_smaller(tmp_path):
    """With restart markers or without the pixels are equal, and they stay near the reference's."""
    plain = [encoded(smooth(np.random.default_rng(i), 190 + 9 * i, 230), SUBSAMPLINGS[i]) for i in range(6)]
    streams = {"plain": plain, "rows": list(map(with_restart_rows, plain))}
    paths = [written(tmp_path / f"{name}.tar", made) for name, made in streams.items()]
    ids = np.arange(30) % 6
    for size, smallest in ((6, 0.2), (12, 0.2), (24, 0.5)):  # down to an eighth, a quarter, a half
        augment = Augment(resize=size, random_resized_crop=(smallest, 0.8))
        first, second = (deliver(path, "native", augment, ids).int() for path in paths)
        wanted = deliver(paths[0], "reference", augment, ids).int()
        assert torch.equal(first, second)
        assert (first - wanted).abs().float().mean() < 3  # strong colours with an edge every six pixels
