"""Damaged files, from opening them to the pixels: one clear sentence or whole images, whatever byte is wrong.

Every damage is tried in this process: a read outside the map would end it.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.writers.tar import write_tar
from loaders import Augment, EpochPlan, make_loader, open_dataset
from loaders.formats.beton_layout import ALLOCATION, FIELD, HEADER
from loaders.formats.claims import MAX_PIXELS
from tests.conftest import photographs, write_mode

NUM = 5
PLAN = EpochPlan(np.array([4, 0, 1, 2, 3, 3]))
ORDER = itertools.count()
DALI, FFCV = pytest.mark.dali, pytest.mark.ffcv
CASES = [
    pytest.param("raw", "fused", 0),
    pytest.param("raw", "ffcv", 8, marks=FFCV),
    pytest.param("jpeg", "reference", 0),
    pytest.param("jpeg", "ffcv", 0, marks=FFCV),
    pytest.param("jpeg", "ffcv", 8, marks=FFCV),
    pytest.param("jpeg", "dali", 8, marks=DALI),
    pytest.param("mixed", "ffcv", 8, marks=FFCV),
    pytest.param("mixed", "dali", 0, marks=DALI),
    pytest.param("png", "reference", 8),
    pytest.param("png", "dali", 0, marks=DALI),
]


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """kind -> suffix -> the bytes of a whole file of that kind."""
    folder, images, labels = tmp_path_factory.mktemp("whole"), photographs(NUM, 20, 24, 2), np.arange(NUM)
    for kind in ("raw", "jpeg", "mixed"):
        write_mode(folder / f"{kind}.beton", images, labels, kind)
    write_tar(folder / "png.tar", images, labels)
    return {
        kind: {path.suffix: path.read_bytes() for path in sorted(folder.glob(f"{kind}.*"))}
        for kind in ("raw", "jpeg", "mixed", "png")
    }


def used(content: bytes, suffix: str) -> list[tuple[int, int]]:
    """The parts of a file that hold something: of a .beton mostly not the rest of its page."""
    if suffix != ".beton":
        return [(0, len(content))]
    header = np.frombuffer(content, HEADER, 1)[0]
    table = int(header["alloc_table_ptr"])
    entries = np.frombuffer(content, ALLOCATION, offset=table)
    first, last = int(entries["ptr"].min()), int((entries["ptr"] + entries["size"]).max())
    records = HEADER.itemsize + 2 * FIELD.itemsize
    return [(0, HEADER.itemsize), (HEADER.itemsize, records + 24 * NUM), (first, last), (table, len(content))]


@st.composite
def damaged(draw, content: bytes, suffix: str) -> bytes:
    """Up to six bytes changed, some of them to values that mean something in a header; sometimes the file is cut."""
    changed, places = bytearray(content), st.one_of(*(st.integers(a, b - 1) for a, b in used(content, suffix)))
    for place in draw(st.lists(places, min_size=1, max_size=6)):
        changed[place] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
    if draw(st.integers(0, 4)) == 0:
        del changed[draw(places) :]
    return bytes(changed)


@pytest.mark.parametrize(("kind", "backend", "size"), CASES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_is_told_or_harmless(contents, tmp_path_factory, kind, backend, size, data):
    path = tmp_path_factory.getbasetemp() / f"damaged{next(ORDER)}"  # never a file that is still mapped
    try:
        for suffix, content in contents[kind].items():
            path.with_suffix(suffix).write_bytes(data.draw(damaged(content, suffix)))
        delivers_or_refuses(path.with_suffix(next(reversed(contents[kind]))), backend, size)
    finally:
        for suffix in contents[kind]:
            path.with_suffix(suffix).unlink(missing_ok=True)


def delivers_or_refuses(path: Path, backend: str, size: int) -> None:
    try:
        loader = make_loader(path, 2, backend=backend, dtype=torch.uint8, augment=Augment(resize=size, flip=True))
        batches = list(loader.epoch(PLAN))
    except ValueError as error:
        assert path.stem in str(error)  # noqa: PT017 (delivering is allowed too)
        assert len(str(error)) < 600  # noqa: PT017
        return
    shape = (size, size, 3) if size else loader.dataset.image_shape
    assert torch.cat([batch.ids for batch in batches]).tolist() == PLAN.ids.tolist()
    assert all(batch.images.permute(0, 2, 3, 1).shape[1:] == shape for batch in batches)


@pytest.mark.parametrize("suffix", [".tar", ".beton"])
def test_an_image_that_claims_to_be_huge_is_refused(contents, tmp_path, suffix):
    """A stream of a few bytes may claim 65,535 x 65,535 pixels, for which nobody should set memory aside."""
    kind = "png" if suffix == ".tar" else "jpeg"
    for end, content in contents[kind].items():
        (tmp_path / "huge").with_suffix(end).write_bytes(content)
    path = (tmp_path / "huge").with_suffix(suffix)
    dataset, content = open_dataset(path), bytearray(path.read_bytes())
    start = int(dataset.offsets[3])
    if suffix == ".tar":
        content[start + 16 : start + 24] = bytes([0, 0, 0x80, 0]) * 2
    else:
        records = HEADER.itemsize + 2 * FIELD.itemsize
        content[records + 24 * 3 + 1 : records + 24 * 3 + 5] = b"\xff" * 4
    path.unlink()
    path.write_bytes(content)
    assert MAX_PIXELS < 32768**2
    with pytest.raises(ValueError, match=r"the image of sample 3 claims to have \d+ x \d+ pixels in .* are allowed"):
        open_dataset(path)
