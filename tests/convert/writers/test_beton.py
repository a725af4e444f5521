import resource
import sys

import numpy as np
import pytest

from convert.writers.beton import write_beton
from tests.stock_ffcv import read_by_stock_ffcv


def samples(num_samples, size=32):
    random = np.random.Generator(np.random.Philox(num_samples))
    images = random.integers(0, 256, (num_samples, size, size, 3), np.uint8)
    return images, random.integers(-5, 1000, num_samples)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3)), np.zeros(2, int), r"images are float64 \[2, 4, 4, 3\], needed: uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, int), r"images are uint8 \[2, 3, 4, 4\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int), r"\[N >= 1, H, W, 3\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, int), r"labels are int64 \[3\], needed: integers \[2\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2), r"labels are float64 \[2\]"),
    ],
)
def test_bad_arrays(tmp_path, images, labels, message):
    with pytest.raises(ValueError, match=message):
        write_beton(tmp_path / "x.beton", images, labels)
    assert list(tmp_path.iterdir()) == []


def test_missing_ffcv_is_one_sentence(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "ffcv"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ffcv", None)  # an import of it now fails
    with pytest.raises(ImportError, match=r"libopencv-dev libturbojpeg0-dev pkg-config g\+\+, then pip install ffcv"):
        write_beton(tmp_path / "x.beton", *samples(3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffcv
def test_same_bytes_each_time_and_as_from_ffcv_itself(tmp_path, capfd):
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    images, labels = samples(1500)  # three pages
    for name in ("a.beton", "b.beton"):
        write_beton(tmp_path / name, images, labels)
    ours = (tmp_path / "a.beton").read_bytes()
    assert ours == (tmp_path / "b.beton").read_bytes()
    writer = DatasetWriter(
        str(tmp_path / "c.beton"), {"image": RGBImageField(), "label": IntField()}, page_size=1 << 21, num_workers=1
    )
    writer.from_indexed_dataset(list(zip(images, labels, strict=True)))
    assert ours == (tmp_path / "c.beton").read_bytes()


@pytest.mark.ffcv
@pytest.mark.slow
def test_stock_ffcv_gives_the_same_images(tmp_path):
    written = {tmp_path / "small.beton": samples(700), tmp_path / "large.beton": samples(5, 300)}
    for path, arrays in written.items():
        write_beton(path, *arrays)
    for wanted, read in zip(written.values(), read_by_stock_ffcv(*written), strict=True):
        np.testing.assert_array_equal(read[0], wanted[0])
        np.testing.assert_array_equal(read[1], wanted[1])


@pytest.mark.ffcv
def test_progress_counts_every_sample(tmp_path):
    counts = []
    write_beton(tmp_path / "x.beton", *samples(2300, 4), on_samples=counts.append)
    assert sum(counts) == 2300


@pytest.mark.ffcv
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("inside")])
def test_stopped_half_way_leaves_nothing(tmp_path, error):
    def stop(count):
        raise error

    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        write_beton(tmp_path / "x.beton", *samples(1500), on_samples=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffcv
@pytest.mark.parametrize("limit", [1000, 1 << 21, (1 << 21) + 4096, 3 << 20, 8_388_608])
def test_no_space_left_wherever_it_happens(tmp_path, limit):
    """1,500 samples need 8,424,608 bytes; the last limit cuts only the table at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(
            OSError, match=r"limit reached while writing .*x\.beton .*nothing was kept: free some space"
        ):
            write_beton(tmp_path / "x.beton", *samples(1500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffcv
def test_a_short_last_write_is_not_taken_for_success(tmp_path, monkeypatch):
    from ffcv.memory_allocator import MemoryAllocator

    def flush_short(self, flush=MemoryAllocator.flush_page):
        flush(self)
        if self.my_page >= 0:
            self.fp.truncate(self.fp.seek(0, 2) - 10)

    monkeypatch.setattr(MemoryAllocator, "flush_page", flush_short)
    with pytest.raises(OSError, match=r"no space left while writing"):
        write_beton(tmp_path / "x.beton", *samples(10))
    assert list(tmp_path.iterdir()) == []
