"""Whatever the bytes of a file, its parser gives data or one sentence: some inputs of `python -m tests.fuzz`."""

import sys

import pytest

from tests.fuzz.fuzz import fuzz

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
NUM_PARSERS = 51


@pytest.mark.parametrize("inputs", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_every_parser_gives_data_or_one_sentence(inputs):
    tally = fuzz(NUM_PARSERS * inputs, seconds=120)
    assert tally.findings == []
    assert tally.read > 0.05 * tally.inputs  # the damage is not always fatal: what lies behind the first check is tried
