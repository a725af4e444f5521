import hashlib
import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.writers.beton import write_beton, write_jpeg_beton
from convert.writers.streams import Streams
from loaders.formats.beton_layout import choose_page_bytes, place_images
from loaders.formats.open import open_dataset
from tests.conftest import photographs, write_through_ffcv
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


def test_an_image_that_no_page_or_record_holds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images are 1 x 65536 pixels, a \.beton holds sides of 1 to 65535"):
        write_beton(tmp_path / "x.beton", np.zeros((1, 1, 65_536, 3), np.uint8), np.zeros(1, int))
    with pytest.raises(ValueError, match=r"2,147,483,649 bytes, and a page of a .beton holds 2,147,483,648 at most"):
        choose_page_bytes((1 << 31) + 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("largest", "page_bytes"),
    [(1, 1 << 21), (1 << 17, 1 << 21), ((1 << 17) + 1, 1 << 22), (1 << 30, 1 << 31), (1 << 31, 1 << 31)],
)
def test_a_page_is_the_least_that_holds_sixteen_images_within_the_limits(largest, page_bytes):
    assert choose_page_bytes(largest) == page_bytes


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(1, 5000))
def test_no_image_crosses_a_page_and_none_waits_in_vain(sizes, metadata_end):
    offsets, page = np.concatenate([[0], np.cumsum(sizes)]), 128
    firsts, pointers, end = place_images(offsets, metadata_end, page)
    pointers, ends = pointers.astype(int), pointers.astype(int) + sizes
    assert (pointers // page == (ends - 1) // page).all()
    assert pointers[0] == -(-metadata_end // page) * page
    starts = pointers[firsts[:-1]]
    assert (np.diff(starts) == page).all()
    assert (starts % page == 0).all()
    assert end == starts[-1] + page
    others = np.setdiff1d(np.arange(1, len(sizes)), firsts)
    assert (pointers[others] == ends[others - 1]).all()
    turned = firsts[1:-1]  # would have crossed the end of the page before
    assert (ends[turned - 1] + np.array(sizes)[turned] > starts[1:]).all()


@pytest.mark.parametrize(
    ("num_samples", "size", "digest"),
    [
        (1500, 32, "27158ad2a2f9b32985102367bef397c5eef084ac5a7bd0aa2ce3d02795aaa93d"),
        (5, 300, "e673cf9470db0c52e5c12097ba6be25924851ec1b487e05c8ff5f73585da7e09"),
    ],
)
def test_the_bytes_of_a_file_never_change(tmp_path, num_samples, size, digest):
    write_beton(tmp_path / "x.beton", *samples(num_samples, size))
    assert hashlib.sha256((tmp_path / "x.beton").read_bytes()).hexdigest() == digest


def test_slices_and_memory_maps_are_written_as_whole_arrays(tmp_path):
    images, labels = samples(1500)
    images.tofile(tmp_path / "raw")
    mapped = np.memmap(tmp_path / "raw", np.uint8, "r", shape=images.shape)
    wide = np.repeat(images, 2, axis=2)[:, :, ::2]  # not contiguous
    for name, same in (("a", images), ("b", mapped), ("c", wide)):
        write_beton(tmp_path / name, same, labels)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_memory_does_not_grow_with_the_images(tmp_path):
    """Written from a sparse memory map of 300 MB, with 100 MB of address space beside it."""
    script = """
import resource, sys
import numpy as np
from convert.writers.beton import write_beton
images = np.memmap(sys.argv[1] + "/raw", np.uint8, "w+", shape=(100_000, 32, 32, 3))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
write_beton(sys.argv[1] + "/x.beton", images, np.arange(100_000))
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "x.beton").stat().st_size > 307_200_000


@pytest.mark.ffcv
@pytest.mark.parametrize(
    ("num_samples", "size", "page_size"),
    [(1500, 32, 1 << 21), (682, 32, 1 << 21), (683, 32, 1 << 21), (40, 300, 1 << 23), (1, 1, 1 << 21)],
)
def test_raw_images_give_the_same_bytes_as_from_ffcv_itself(tmp_path, num_samples, size, page_size):
    """Of three pages, of one that is full, of one and an image, of larger pages, of one pixel."""
    images, labels = samples(num_samples, size)
    write_beton(tmp_path / "ours.beton", images, labels)
    write_through_ffcv(tmp_path / "ffcv.beton", images, labels, "raw", page_size)
    assert (tmp_path / "ours.beton").read_bytes() == (tmp_path / "ffcv.beton").read_bytes()


@pytest.mark.ffcv
def test_jpeg_streams_give_the_same_bytes_as_from_ffcv_itself(tmp_path):
    """FFCV's writer encodes; written again, its streams make the file that it made."""
    images, labels = photographs(450, 96, 110, 3), np.arange(450) - 7
    write_through_ffcv(tmp_path / "ffcv.beton", images, labels, "jpg", 1 << 21)
    made = open_dataset(tmp_path / "ffcv.beton")
    content = [made.bytes(i) for i in range(450)]
    offsets = np.concatenate([[0], np.cumsum([len(stream) for stream in content])])
    streams = Streams(np.concatenate(content), offsets, made.heights, made.widths, labels, np.zeros((3, 256), np.int64))
    write_jpeg_beton(tmp_path / "ours.beton", streams)
    assert offsets[-1] > 1 << 21  # two pages at least
    assert (tmp_path / "ours.beton").read_bytes() == (tmp_path / "ffcv.beton").read_bytes()


@pytest.mark.ffcv
@pytest.mark.slow
def test_stock_ffcv_gives_the_same_images(tmp_path):
    written = {tmp_path / "small.beton": samples(700), tmp_path / "large.beton": samples(5, 300)}
    for path, arrays in written.items():
        write_beton(path, *arrays)
    for wanted, read in zip(written.values(), read_by_stock_ffcv(*written), strict=True):
        np.testing.assert_array_equal(read[0], wanted[0])
        np.testing.assert_array_equal(read[1], wanted[1])


def test_progress_counts_every_sample(tmp_path):
    counts = []
    write_beton(tmp_path / "x.beton", *samples(2300, 4), on_samples=counts.append)
    assert sum(counts) == 2300


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("inside")])
def test_stopped_half_way_leaves_nothing(tmp_path, error):
    def stop(count):
        raise error

    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        write_beton(tmp_path / "x.beton", *samples(1500), on_samples=stop)
    assert list(tmp_path.iterdir()) == []


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
