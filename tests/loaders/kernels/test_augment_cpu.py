"""The compiled kernels write inside of their images only, however small these are."""

import numpy as np
import pytest

from loaders.augment.erasing import RandomErasing, prepare_erasing
from loaders.kernels.augment_cpu import Extras, Recipe, pixels


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 2), (3, 5), (1, 1), (5, 6), (8, 2)])
def test_nothing_is_written_behind_an_image(height, width, reflect):
    size, guard = height * width * 3, 64
    data = np.arange(1, size + 1, dtype=np.uint8)
    zero = np.zeros(1, np.int64)
    more = Extras(prepare_erasing(RandomErasing(value="random")), True, 0, np.uint64(3), zero)
    for key in range(200):
        memory = np.full(size + guard, 255, np.uint8)
        padding = 1 if min(height, width) > 1 or not reflect else 0
        recipe = Recipe(np.uint64(key), 0, 1, padding, reflect, True, 0, True)
        out = memory[:size].reshape(1, height, width, 3)
        pixels(0, 1, data, zero, zero, out, recipe, more if key % 2 else None)
        assert (memory[size:] == 255).all()
