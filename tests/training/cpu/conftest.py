"""What all tests of the compiled layers need: a processor that has their instructions."""

import pytest

from training.cpu.team import has_bfloat16_products


def pytest_collection_modifyitems(items):
    if not has_bfloat16_products():
        for item in items:
            if "training/cpu" in str(item.path.as_posix()):
                item.add_marker(pytest.mark.skip(reason="this processor does not multiply bfloat16 (AVX-512 BF16)"))
