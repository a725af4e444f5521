"""Converted JPEG has restart rows: the pixels are those of the source, and others' readers take it as any JPEG."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from convert.sources.restart_rows import with_restart_rows
from loaders.formats.jpeg.header import has_restart_rows, read_scan
from loaders.formats.open import open_dataset
from tests.loaders.formats.jpeg.streams import by_pillow, decoded, encoded, smooth


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A folder with 12 JPEG, the last of them progressive, and a PNG; the conversion; and what was printed."""
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)
    (folder / "images" / "a").mkdir(parents=True)
    for i in range(12):
        pixels = smooth(rng, 60 + 5 * i, 90)
        stream = by_pillow(pixels, progressive=True) if i == 11 else encoded(pixels, ("420", "444", "422")[i % 3])
        (folder / "images" / "a" / f"{i:02d}.jpg").write_bytes(stream)
    Image.fromarray(smooth(rng, 70, 50)).save(folder / "images" / "a" / "x.png")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        convert_folder(folder / "images", folder / "data", format="dali", workers=2)
    return folder, printed.getvalue()


def test_pixels_stay_and_rows_end_in_markers(converted):
    folder, printed = converted
    dataset = open_dataset(folder / "data" / "train.tar")
    for sample, file in enumerate(sorted((folder / "images" / "a").glob("*.jpg"))):
        stream = dataset.bytes(sample)
        assert np.array_equal(decoded(stream.tobytes()), decoded(file.read_bytes()))
        assert has_restart_rows(read_scan(stream)) == (sample != 11)
    assert has_restart_rows(read_scan(dataset.bytes(12)))  # that of the PNG
    assert "1 of 13 images have no restart markers" in printed


def test_what_follows_the_end_goes_and_other_streams_stay():
    pixels = smooth(np.random.default_rng(1), 40, 40)
    stream, progressive = encoded(pixels, "420"), by_pillow(pixels, progressive=True)
    assert with_restart_rows(stream + b"more") == with_restart_rows(stream) != stream
    assert with_restart_rows(progressive) == progressive


@pytest.mark.dali
def test_dali_reads_restart_rows(converted):
    from nvidia.dali import fn, pipeline_def

    dataset = open_dataset(converted[0] / "data" / "train.tar")
    streams = [dataset.bytes(sample) for sample in range(6)]

    @pipeline_def(batch_size=6, num_threads=1, device_id=None)
    def pipeline():
        return fn.decoders.image(fn.external_source(lambda: streams, batch=True), device="cpu")

    pipe = pipeline()
    pipe.build()
    (images,) = pipe.run()
    for sample in range(6):
        wanted = decoded(streams[sample].tobytes()).astype(int)
        assert np.abs(np.asarray(images[sample]) - wanted).max() <= 3
