"""Holds out a part of the training images as a test set, the same for everyone."""

import hashlib
from collections import defaultdict

from convert.sources.folder.layout import Placed
from convert.sources.folder.names import readable


def hold_out(placed: list[Placed], fraction: float, seed: int) -> list[Placed]:
    """Move a fraction of each class to the split test.

    An image's place in the draw is a hash of the seed and of its name, so that it does not depend on the machine, nor
    on the images of other classes.

    Raises:
        ValueError: there is a split beside train already, or the fraction of every class is less than half an image.
    """
    there = sorted({image.split for image in placed} - {"train"})
    if there:
        hint = ", or leave --split out and take it with --val-as-test" * (there == ["val"])
        raise ValueError(f"--split holds out a test set, and there is a {there[0]} split already: leave it out{hint}")
    by_class = defaultdict[str, list[tuple[bytes, int]]](list)
    for i, image in enumerate(placed):
        name = "/".join(map(readable, image.file.parts))
        by_class[image.class_name].append((hashlib.sha256(f"{seed}/{name}".encode()).digest(), i))
    chosen = {
        i
        for drawn in by_class.values()
        for _, i in sorted(drawn)[: min(int(len(drawn) * fraction + 0.5), len(drawn) - 1)]
    }
    if not chosen:
        raise ValueError(f"--split {fraction:g} is less than half an image in each class: take a larger fraction")
    return [image._replace(split="test") if i in chosen else image for i, image in enumerate(placed)]
