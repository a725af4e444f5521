"""The Triton kernel of RandAugment: every operation at every magnitude against Pillow, to the bit; and its draws.

Without a GPU the kernel runs in Triton's interpreter, on few and small images.
"""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import RandAugment
from loaders.augment.randaugment import BINS, Operation, operations
from loaders.backends.gpu.kernels import randaugmenting
from loaders.backends.randaugment import draw_rectangles, draw_round, prepare, prepared
from loaders.backends.reference import apply_operation
from loaders.kernels.randaugment_cpu import randaugment_block
from loaders.order.rng import hash_array
from loaders.types import EpochPlan
from tests.loaders.augment.test_randaugment import NAMES, some_images

SIZES = [(7, 9), *(pytest.param(size, marks=pytest.mark.slow) for size in ((1, 1), (2, 40), (3, 3)))]


def of_all_magnitudes(name: str, height: int, width: int) -> list[float]:
    """The numbers that an operation takes, in either version and with either sign."""
    found = set()
    for m in range(BINS + 1):
        for version in ("standard", "arazo"):
            for op in operations(RandAugment(1, m, version), height, width):
                found.update(op[1:] if op.name == name else ())
    return sorted(found)


def augmented(device, images: np.ndarray, choices: list[Operation], boxes: np.ndarray | None = None) -> np.ndarray:
    """Operation i on image i."""
    num, height, width, _ = images.shape
    ops = prepared(1, tuple(choices), height, width)
    fixed = ops.kinds.astype(np.int32), ops.values[:, 0].astype(np.float32), ops.tables[:, 0], ops.matrices[:, 0]
    starts, drawn = np.arange(num) * images[0].size, np.arange(num, dtype=np.int32)
    data, starts, drawn, boxes, *fixed = (
        None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for array in (images.reshape(-1), starts, drawn, boxes, *fixed)
    )
    out = torch.empty(images.shape, dtype=torch.uint8, device=device)
    launch = importlib.import_module("loaders.kernels.randaugment_gpu").launch
    launch(out, data, starts, drawn, boxes, *fixed, height=height, width=width)
    return out.cpu().numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_pillows_to_the_bit(device, monkeypatch, name, size):
    monkeypatch.setattr(importlib.import_module("loaders.kernels.randaugment_gpu"), "BLOCK", 64)  # quicker to interpret
    some, numbers = some_images(*size), of_all_magnitudes(name, *size)
    num = max(len(numbers), len(some))
    choices = [Operation(name, value, value) for value in np.resize(numbers, num).tolist()]
    images, boxes, (height, width) = some[np.arange(num) % len(some)], None, size
    bits = hash_array(3, np.arange(2 * num)).reshape(2, num)
    y, x = (length + (1 - length) * ((b >> np.uint64(11)) * 2.0**-53) for length, b in zip(size, bits, strict=True))
    if name == "CutoutAbs":
        edges = [], [], [], []
        for (_, value, _), down, right in zip(choices, y, x, strict=True):
            top, left = int(max(0, down - value / 2)), int(max(0, right - value / 2))
            inside = top, min(int(top + value), height - 1), left, min(int(left + value), width - 1)
            for edge, at in zip(edges, inside, strict=True):
                edge.append(at)
        boxes = np.array(edges, np.int32).T
    got = augmented(device, images, choices, boxes)
    for i, (image, (_, value, _)) in enumerate(zip(images, choices, strict=True)):
        wanted = apply_operation(Image.fromarray(image), name, value, x[i], y[i])
        assert np.array_equal(got[i], np.asarray(wanted)), (name, value, i)


@pytest.mark.parametrize(
    "name",
    [
        "Rotate",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("AutoContrast", "Equalize", "Contrast", "Sharpness")),
    ],
)
def test_a_large_image_is_changed_in_parts(device, monkeypatch, name):
    images = some_images(9, 13)[::5]
    choices = [Operation(name, 1.7, 1.7)] * len(images)
    whole = augmented(device, images, choices)
    monkeypatch.setattr(importlib.import_module("loaders.kernels.randaugment_gpu"), "BLOCK", 32)
    assert np.array_equal(augmented(device, images, choices), whole)


@pytest.mark.parametrize("version", ["standard", "arazo"])
def test_draws_are_those_of_the_cpu(version):
    """The rounds as they are drawn here, one after the other through the CPU's kernel, give what that draws itself."""
    height, width, num, key = 8, 11, 60, 2**63 + 5
    whole = prepare(RandAugment(3, 17, version), height, width)
    images = some_images(height, width)[np.arange(num) % 16]
    offsets, size = np.arange(num) * images[0].size, images[0].size

    def by_cpu(images, ops, key, rows, position=0):
        out = np.empty((len(rows), size), np.uint8)
        data, begins, rows = (array.copy() for array in (images.reshape(-1), offsets, np.asarray(rows)))
        for array in (data, begins, rows):
            array.flags.writeable = False
        randaugment_block(0, len(rows), data, begins, rows, out, height, width, np.uint64(key), position, 1, ops)
        return out

    wanted = by_cpu(images, whole, key, np.arange(num), 7)
    names = [name for name, *_ in operations(RandAugment(3, 17, version), height, width)]
    values = whole.values.reshape(-1)
    for number in range(3):
        where = number, key, np.arange(7, 7 + num)
        drawn = draw_round(whole, *where)
        boxes = draw_rectangles(values[drawn], *where, height, width)
        assert set(drawn % 2) == {0, 1}
        changed = []
        for i, which in enumerate(drawn.tolist()):
            name, value = names[which // 2], values[which]
            if name == "CutoutAbs":
                image, (top, bottom, left, right) = images[i].copy(), boxes[i]
                image[top : bottom + 1, left : right + 1] = whole.grey
            else:
                image = apply_operation(Image.fromarray(images[i]), name, value)
            changed.append(np.asarray(image))
        images = np.stack(changed)
    assert np.array_equal(images.reshape(num, -1), wanted)


def test_places_of_rectangles_are_sent_only_where_there_are_some(device):
    plan, todo = EpochPlan(np.arange(4), key=1), []
    for version, has_boxes in (("standard", False), ("arazo", True)):
        stages = randaugmenting(RandAugment(2, 30, version), (8, 8, 3), device)
        assert len(stages) == 2
        cells = [cell.cell_contents for cell in stages[0](plan, todo).__closure__]
        assert any(isinstance(cell, torch.Tensor) and cell.shape == (4, 4) for cell in cells) == has_boxes
