"""docs/formats.md is the reference of other readers: its code and its example are run here."""

import re
from pathlib import Path

import numpy as np

from convert.writers.beton import write_beton
from convert.writers.tar import write_tar

TEXT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_the_documented_reader_reads_a_beton(tmp_path):
    random = np.random.Generator(np.random.Philox(2))
    images, labels = random.integers(0, 256, (900, 32, 30, 3), np.uint8), random.integers(-9, 9, 900)
    write_beton(tmp_path / "x.beton", images, labels)
    namespace = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1], namespace)
    read_images, read_labels = namespace["read_beton"](tmp_path / "x.beton")
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)


def test_the_documented_index_is_what_is_written(tmp_path):
    write_tar(tmp_path / "x.tar", np.zeros((2, 32, 32, 3), np.uint8), np.array([3, 4]))
    example = re.search(r"```\nv1\.2 50000\n(.*?)```", TEXT, re.DOTALL)[1]
    assert (tmp_path / "x.idx").read_text() == "v1.2 2\n" + example
