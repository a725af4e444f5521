"""Reading a `.tar` through its `.idx`: what was written is read, and no broken index gets further than a sentence."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.writers.tar import write_tar
from loaders.backends.reference import decode
from loaders.formats.open import open_dataset


@pytest.fixture
def pair(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), np.uint8)
    write_tar(tmp_path / "x.tar", images, np.array([3, -1, 0, 1000, 2]))
    return tmp_path / "x.tar", images


def test_png_images_and_labels_are_those_written(pair):
    dataset = open_dataset(pair[0])
    assert (dataset.kind, dataset.image_shape, dataset.num_samples) == ("png", (9, 7, 3), 5)
    assert dataset.labels.tolist() == [3, -1, 0, 1000, 2]
    assert all(np.array_equal(decode(dataset, i), pair[1][i]) for i in range(5))
    assert bytes(dataset.bytes(2)[:4]) == b"\x89PNG"


def test_a_jpeg_tar_holds_what_the_beton_holds(photos):
    tar, beton = open_dataset(photos / "train.tar"), open_dataset(photos / "train.beton")
    assert tar.kind == beton.kind == "jpeg"
    for name in ("labels", "heights", "widths", "sizes"):
        assert np.array_equal(getattr(tar, name), getattr(beton, name))
    assert all(np.array_equal(tar.bytes(i), beton.bytes(i)) for i in range(tar.num_samples))


def test_no_index(pair):
    pair[0].with_suffix(".idx").unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.tar needs its index .*x\.idx: make it with DALI's wds2idx"):
        open_dataset(pair[0])


BROKEN = {
    "begins with 'v1.1 5'": ("v1.2 5", "v1.1 5"),
    "begins with 'v1.2 6' and 5 lines": ("v1.2 5", "v1.2 6"),
    "line 2, .* it has 7 words": (" 00000000.cls", ""),
    "the parts 'png txt', but needs cls": ("cls", "txt", 1),
    "two parts of the kind image": ("cls", "jpg", 1),
    r"the offset '-5' or the size": ("png 512", "png -5"),
    "its png, bytes 0 to": ("png 512", "png 0"),
    "its png, bytes 9999999 to .* is not in the": ("png 512", "png 9999999"),
    "before its png, at byte 1024, is no tar header": ("png 512", "png 1024"),
    "before its png, at byte 512, is no tar header": ("png 512 2", "png 512 1"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_index_is_refused(pair, message):
    index = pair[0].with_suffix(".idx")
    index.write_text(index.read_text().replace(*BROKEN[message][:2], *(BROKEN[message][2:] or (1,))))
    with pytest.raises(ValueError, match=message):
        open_dataset(pair[0])


def test_a_label_that_is_no_number_and_an_image_that_is_none(pair):
    dataset, content = open_dataset(pair[0]), bytearray(pair[0].read_bytes())
    changed = content.copy()
    changed[int(dataset.offsets[1]) + 2] = 0
    pair[0].write_bytes(changed)
    with pytest.raises(ValueError, match="image of sample 1 is neither JPEG nor PNG"):
        open_dataset(pair[0])
    at = content.index(b"1000")
    content[at : at + 4] = b"10x0"
    pair[0].write_bytes(content)
    with pytest.raises(ValueError, match=r"line 5, .* its cls is b'10x0', but must be an integer"):
        open_dataset(pair[0])


def test_a_tar_cut_short_is_refused(pair):
    pair[0].write_bytes(pair[0].read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"is not in the 1500 bytes"):
        open_dataset(pair[0])
    pair[0].write_bytes(b"")
    with pytest.raises(ValueError, match="is not a whole tar: it has 0 bytes"):
        open_dataset(pair[0])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_never_leads_outside_the_file(tmp_path, data):
    path = tmp_path / "x.tar"
    write_tar(path, np.zeros((3, 4, 4, 3), np.uint8), np.arange(3))
    for file in (path, path.with_suffix(".idx")):
        content = bytearray(file.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
    try:
        dataset = open_dataset(path)
    except ValueError as error:
        assert len(str(error)) < 600  # noqa: PT017 (opening is allowed too)
        return
    for sample in range(dataset.num_samples):
        assert len(dataset.bytes(sample)) == dataset.sizes[sample]
