"""What numbered names leave out."""

import pytest

from loaders.formats.series import missing_in_series


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["a-0.tar", "a-1.tar", "a-2.tar"], []),
        (["a-000.tar", "a-002.tar", "a-003.tar"], ["a-001.tar"]),
        (["9.tar", "11.tar", "8.tar"], ["10.tar"]),
        (["a-1.tar", "a-2.tar", "b-7.tar", "b-9.tar", "b-10.tar"], ["b-8.tar"]),
        (["2012.tar", "2020.tar"], []),
        (["a.tar", "b.tar"], []),
        (["v2-00.beton", "v2-02.beton", "v2-03.beton"], ["v2-01.beton"]),
        (["t-00000-of-00003-1f.parquet", "t-00002-of-00003-2e.parquet"], ["t-00001-of-00003"]),
        (["t-00001-of-00003.tar"], ["t-00000-of-00003 or t-00003-of-00003", "t-00002-of-00003"]),
        ([f"t-{number:02d}-of-16.tar" for number in range(1, 16)], ["t-00-of-16 or t-16-of-16"]),
        (["t-1-of-3.tar", "t-3-of-3.tar"], ["t-2-of-3"]),
        (["t-00000-of-00001.parquet", "v-00000-of-00002.parquet"], ["v-00001-of-00002"]),
        (["a-0.tar", f"a-{10**12}.tar"], []),
        ([], []),
    ],
)
def test_what_is_missing_is_named(names, missing):
    assert missing_in_series(names) == missing
    assert missing_in_series(reversed(names)) == missing
