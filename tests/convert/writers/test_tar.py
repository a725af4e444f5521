import io
import resource
import tarfile

import numpy as np
import pytest
from PIL import Image

from convert.writers.tar import encode_png, write_tar


@pytest.fixture
def written(tmp_path):
    random = np.random.Generator(np.random.Philox(5))
    images, labels = random.integers(0, 256, (1100, 32, 32, 3), np.uint8), random.integers(0, 1000, 1100)
    write_tar(tmp_path / "x.tar", images, labels)
    return tmp_path / "x.tar", images, labels


@pytest.mark.parametrize("shape", [(1, 1), (32, 32), (3, 70), (200, 190)])  # the last needs more than one block
def test_png(shape):
    image = np.random.Generator(np.random.Philox(1)).integers(0, 256, (*shape, 3), np.uint8)
    with Image.open(io.BytesIO(encode_png(image))) as stored:
        assert stored.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(stored), image)


def test_ordinary_tools_read_it(written):
    path, images, labels = written
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [member.name for member in members[:3]] == ["00000000.png", "00000000.cls", "00000001.png"]
        assert {(member.mtime, member.uid, member.gid, member.mode) for member in members} == {(0, 0, 0, 0o644)}
        for sample in (0, 57, 1099):
            with Image.open(archive.extractfile(f"{sample:08d}.png")) as stored:
                np.testing.assert_array_equal(np.asarray(stored), images[sample])
            assert int(archive.extractfile(f"{sample:08d}.cls").read()) == labels[sample]


def test_index_gives_random_access(written):
    path, images, labels = written
    first, *lines = path.with_suffix(".idx").read_text().splitlines()
    assert first == "v1.2 1100"
    content = path.read_bytes()
    for sample in (1099, 0, 5):
        png, offset, size, name, cls, label_offset, label_size, _ = lines[sample].split()
        assert (png, name, cls) == ("png", f"{sample:08d}.png", "cls")
        stored = content[int(offset) : int(offset) + int(size)]
        assert stored == encode_png(images[sample])
        assert int(content[int(label_offset) : int(label_offset) + int(label_size)]) == labels[sample]


def test_same_bytes_each_time(written, tmp_path):
    path, images, labels = written
    write_tar(tmp_path / "again.tar", images, labels)
    assert path.read_bytes() == (tmp_path / "again.tar").read_bytes()
    assert path.with_suffix(".idx").read_bytes() == (tmp_path / "again.idx").read_bytes()


def test_no_space_left(tmp_path):
    images, labels = np.zeros((300, 2, 2, 3), np.uint8), np.zeros(300, int)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"limit reached while writing .*nothing was kept"):
            write_tar(tmp_path / "x.tar", images, labels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.dali
def test_index_is_that_of_dali(written, tmp_path):
    from wds2idx import IndexCreator

    path, _, _ = written
    with IndexCreator(str(path), str(tmp_path / "dali.idx"), verbose=False) as creator:
        creator.create_index()
    assert (tmp_path / "dali.idx").read_bytes() == path.with_suffix(".idx").read_bytes()


@pytest.mark.dali
def test_stock_dali_reads_it(written):
    from nvidia.dali import fn, pipeline_def

    path, images, labels = written

    @pipeline_def(batch_size=100, num_threads=1, device_id=None)
    def pipeline():
        index = str(path.with_suffix(".idx"))
        png, cls = fn.readers.webdataset(paths=[str(path)], index_paths=[index], ext=["png", "cls"], device="cpu")
        return fn.decoders.image(png, device="cpu"), cls

    pipe = pipeline()
    pipe.build()
    for start in range(0, 1100, 100):
        decoded, classes = pipe.run()
        np.testing.assert_array_equal(decoded.as_array(), images[start : start + 100])
        assert [int(bytes(classes.at(i))) for i in range(100)] == labels[start : start + 100].tolist()
