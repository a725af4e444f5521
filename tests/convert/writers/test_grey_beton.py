import numpy as np
import pytest

from convert.writers.grey_beton import write_grey_beton
from convert.writers.split import write_split
from loaders.formats.open import open_dataset


def samples(num_samples, height=28, width=28):
    random = np.random.Generator(np.random.Philox(num_samples))
    return random.integers(0, 256, (num_samples, height, width, 1), np.uint8), random.integers(-5, 1000, num_samples)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3000, 28, 28), (20, 500, 400)])  # within a page, two pages, larger pages
def test_what_is_written_is_read(tmp_path, shape):
    images, labels = samples(*shape)
    counted = []
    write_grey_beton(tmp_path / "x.beton", images, labels, counted.append)
    dataset = open_dataset(tmp_path / "x.beton")
    assert (dataset.kind, dataset.channels, dataset.image_shape) == ("raw", 1, images.shape[1:])
    np.testing.assert_array_equal([dataset[i][0] for i in range(len(images))], images)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert sum(counted) == len(images)


def test_an_image_that_no_reader_takes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images are 1 x 65536 pixels, a \.beton holds sides of 1 to 65535"):
        write_grey_beton(tmp_path / "x.beton", np.zeros((1, 1, 65_536, 1), np.uint8), np.zeros(1, int))
    with pytest.raises(ValueError, match="images are uint8 "):
        write_grey_beton(tmp_path / "x.beton", np.zeros((1, 28, 28), np.uint8), np.zeros(1, int))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffcv
def test_the_bytes_of_ffcvs_own_writer(tmp_path, capfd):
    from ffcv.fields import IntField, NDArrayField
    from ffcv.writer import DatasetWriter

    images, labels = samples(3000)  # two pages
    write_grey_beton(tmp_path / "a.beton", images, labels)
    fields = {"image": NDArrayField(np.dtype(np.uint8), (28, 28, 1)), "label": IntField()}
    writer = DatasetWriter(str(tmp_path / "b.beton"), fields, page_size=1 << 21, num_workers=1)
    writer.from_indexed_dataset(list(zip(images, labels, strict=True)))
    assert (tmp_path / "a.beton").read_bytes() == (tmp_path / "b.beton").read_bytes()


def test_a_split_of_grey_images_in_both_formats(tmp_path):
    images, labels = samples(12)
    split = write_split(
        tmp_path, "train", (images, labels), ("p", "l"), "both", earlier=None, on_samples=lambda _: None
    )
    assert sorted(split.files) == ["train.beton", "train.idx", "train.tar"]
    tar = open_dataset(tmp_path / "train.tar")
    for sample, image in enumerate(images):
        np.testing.assert_array_equal(tar[sample][0], np.repeat(image, 3, axis=2))


def test_arrays_that_are_no_images_are_refused(tmp_path):
    images, labels = samples(12)
    write_grey_beton(tmp_path / "x.beton", images, labels)
    content = (tmp_path / "x.beton").read_bytes()
    for good, bad in ((b"|u1", b"|i1"), ((28).to_bytes(8, "little") + (1).to_bytes(8, "little"), bytes(16))):
        assert content.count(good) == 1
        (tmp_path / "y.beton").write_bytes(content.replace(good, bad))
        with pytest.raises(
            ValueError, match=r"y\.beton cannot be read: .*'image' are not uint8 \[H, W, 1\] or \[H, W, 3\]"
        ):
            open_dataset(tmp_path / "y.beton")
