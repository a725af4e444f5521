"""Reading betons natively: what FFCV wrote is read, and no broken file gets further than a sentence."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loaders.formats.beton_layout import ALLOCATION, FIELD, HEADER, IMAGE
from loaders.formats.open import open_dataset

RECORD = np.dtype([("image", IMAGE), ("label", "<i8")], align=True)


@pytest.mark.parametrize("name", ["square", "odd"])
def test_raw_images_and_labels_are_those_written(betons, name):
    beton = betons[name]
    dataset = open_dataset(beton.path)
    assert (dataset.kind, dataset.image_shape) == ("raw", beton.images.shape[1:])
    assert dataset.num_samples == len(beton.images)
    assert np.array_equal(dataset.labels, beton.labels)
    assert all(np.array_equal(dataset.bytes(i), beton.images[i].ravel()) for i in range(len(beton.images)))


def test_images_that_lie_back_to_back_are_a_view(betons):
    dataset = open_dataset(betons["square"].path)
    assert np.array_equal(dataset.images, betons["square"].images)
    assert np.shares_memory(dataset.images, dataset.data)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0


def test_jpeg_and_mixed(betons):
    jpeg, mixed = open_dataset(betons["jpeg"].path), open_dataset(betons["mixed"].path)
    assert (jpeg.kind, mixed.kind, jpeg.images) == ("jpeg", "mixed", None)
    assert all(bytes(jpeg.bytes(i)[:2]) == b"\xff\xd8" for i in range(40))
    assert all((bytes(mixed.bytes(i)[:2]) == b"\xff\xd8") == mixed.is_jpeg[i] for i in range(40))


def test_bytes_of_no_sample(betons):
    with pytest.raises(ValueError, match=r"sample 97 is not in 0\.\.96"):
        open_dataset(betons["square"].path).bytes(97)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_dataset(tmp_path / "train.beton")


class Edit:
    """The parts of a beton with one image and one label, as views into its bytes."""

    def __init__(self, content: np.ndarray):
        self.content = content
        self.header = content[: HEADER.itemsize].view(HEADER)
        start = HEADER.itemsize + 2 * FIELD.itemsize
        self.fields = content[HEADER.itemsize : start].view(FIELD)
        self.records = content[start : start + int(self.header["num_samples"][0]) * RECORD.itemsize].view(RECORD)
        self.table = content[int(self.header["alloc_table_ptr"][0]) :].view(ALLOCATION)


def _set(part: str, name: str, value: int, index: int = 0):
    def edit(e: Edit):
        getattr(e, part)[name][index] = value

    return edit


def _set_image(name: str, value: int, index: int = 3):
    def edit(e: Edit):
        e.records["image"][name][index] = value

    return edit


BROKEN = {
    "its version is 3": _set("header", "version", 3),
    "its page size is 100": _set("header", "page_size", 100),
    "9999 field descriptors do not fit": _set("header", "num_fields", 9999),
    "needs one field 'image'": _set("header", "num_fields", 0),
    "it holds no samples": _set("header", "num_samples", 0),
    "an allocation table at byte .* do not fit": _set("header", "num_samples", 1 << 62),
    "do not fit its": _set("header", "alloc_table_ptr", 1 << 63),
    "allocation table is cut": lambda e: _set("header", "alloc_table_ptr", e.header["alloc_table_ptr"][0] - 1)(e),
    "96 allocations": lambda e: _set("header", "alloc_table_ptr", e.header["alloc_table_ptr"][0] + 24)(e),
    "are of no known type": _set("fields", "type_id", 77),
    "'label' that is an integer": _set("fields", "type_id", 0, 1),
    "allocation 5 of 97 points outside": _set("table", "ptr", (1 << 64) - 8, 5),
    "allocation 6 of 97 points outside": _set("table", "size", (1 << 64) - 8, 6),
    "allocation 7 of 97 points": _set("table", "sample_id", 97, 7),
    "sample 3 has mode 9": _set_image("mode", 9),
    "the image of sample 3 is empty": _set_image("width", 0),
    "sample 3 does not have width x height x 3 bytes": _set_image("height", 33),
    "the image of sample 3 has no allocation": _set_image("data_ptr", (1 << 64) - 1),
    "the image of sample 0 has no allocation": _set("table", "sample_id", 1, 0),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_what_is_wrong_is_named(betons, tmp_path, problem):
    content = np.fromfile(betons["square"].path, np.uint8)
    BROKEN[problem](Edit(content))
    path = tmp_path / "broken.beton"
    content.tofile(path)
    with pytest.raises(ValueError, match=f"broken.beton is not a whole .beton file: .*{problem}"):
        open_dataset(path)


@pytest.mark.ffcv
def test_fields_in_another_order_and_beside_others(betons, tmp_path):
    from ffcv.fields import BytesField, FloatField, IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"weight": FloatField(), "label": IntField(), "note": BytesField(), "image": RGBImageField()}
    note, images = np.arange(5, dtype=np.uint8), betons["odd"].images[:9]
    rows = [(0.5, 100 - i, note, image) for i, image in enumerate(images)]
    with contextlib.redirect_stderr(io.StringIO()):
        DatasetWriter(str(tmp_path / "more.beton"), fields, num_workers=1).from_indexed_dataset(rows)
    dataset = open_dataset(tmp_path / "more.beton")
    assert dataset.labels.tolist() == [100 - i for i in range(9)]
    assert all(np.array_equal(dataset.bytes(i), images[i].ravel()) for i in range(9))


@pytest.fixture(scope="module")
def content(betons):
    return betons["square"].path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("broken") / "broken.beton"


def opens_or_refuses(path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        dataset = open_dataset(path)
    except ValueError as error:
        assert "is not a whole .beton file" in str(error)  # noqa: PT017 (opening is allowed too)
        return
    size = len(content)
    assert (dataset.offsets >= 0).all()
    assert (dataset.offsets + dataset.sizes <= size).all()
    assert dataset.num_samples <= size
    for sample in (0, dataset.num_samples - 1):
        dataset.bytes(sample).sum()


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(data=st.data())
def test_a_cut_file_is_refused(content, scratch, data):
    cut = data.draw(st.integers(0, len(content) - 1))
    scratch.write_bytes(content[:cut])
    with pytest.raises(ValueError, match="is not a whole"):
        open_dataset(scratch)


@QUICK
@given(data=st.data())
def test_flipped_bits_never_lead_outside_the_file(content, scratch, data):
    table = len(content) - 97 * ALLOCATION.itemsize
    places = st.one_of(
        st.integers(0, HEADER.itemsize - 1),
        st.integers(HEADER.itemsize, HEADER.itemsize + 2 * FIELD.itemsize + 97 * RECORD.itemsize - 1),
        st.integers(table, len(content) - 1),
    )
    changed = bytearray(content)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
    opens_or_refuses(scratch, bytes(changed))


@QUICK
@given(tail=st.binary(max_size=4000))
def test_rubbish_is_refused(content, scratch, tail):
    opens_or_refuses(scratch, tail)
    opens_or_refuses(scratch, content[: HEADER.itemsize] + tail)
    opens_or_refuses(scratch, content[: HEADER.itemsize + 2 * FIELD.itemsize] + tail)
