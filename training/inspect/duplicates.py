"""Near duplicates: images with nearly the same features and colours, confirmed by a look at their pixels.

Two steps, since there are too many pairs to compare their pixels. The first goes by one product of vectors a pair: half
of it are the network's features, which are close where images show the same; half are the image's outline, 8 x 8
colours. Either alone overlooks many: a shift changes the outline more than the features, noise the features more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LEAST_COSINE = 0.75
"""Mean of the two cosines, of the features and of the outlines, of a pair whose pixels are compared."""
MOST_DIFFERENCE = 0.28
"""Of the pixels of a near duplicate: see `difference`."""
NEIGHBOURS = 4
"""So many later images, those with the largest cosines, are compared with each image."""
MOST_PAIRS = 200_000
"""So many pairs, those with the largest cosines, have their pixels compared."""
ALL_WITH_ALL = 200_000
"""Up to so many images each is compared with each; beyond, with those that the network takes for the same class."""

_ROWS, _COLUMNS = 2048, 8192  # of a block of cosines
_SIDE = 16  # pixels, of the small images that are compared
_LEAST_CONTRAST = 4.0  # grey levels: below, an image is flat, and what differs is noise


class Pairs(NamedTuple):
    """Pairs of images, the smaller id first.

    Attributes:
        first, second: int64 [P], ids.
        difference: float32 [P] of their pixels.
    """

    first: np.ndarray
    second: np.ndarray
    difference: np.ndarray


def near_duplicates(
    vectors_ND: Tensor,
    guesses_N: np.ndarray,
    pixels: Callable[[int], np.ndarray],
    say: Callable[[], None] = lambda: None,
) -> Pairs:
    """All pairs that are near duplicates of each other, the closest first.

    Args:
        vectors_ND: of `directions`, on the device that is to compare them.
        guesses_N: int64, the class that the network takes each image for.
        pixels: gives an image by id, uint8 [H, W, 3].
        say: is told when a block is done.
    """
    first, second = candidates(vectors_ND, guesses_N, say)
    ids = np.unique(np.concatenate([first, second]))
    small = np.empty((len(ids), _SIDE, _SIDE, 3), np.uint8)
    for row, sample in enumerate(ids.tolist()):
        small[row] = shrunk(pixels(sample))
    rows = np.searchsorted(ids, first), np.searchsorted(ids, second)
    differences = np.empty(len(first), np.float32)
    for start in range(0, len(first), _ROWS):
        some = slice(start, start + _ROWS)
        differences[some] = difference(small[rows[0][some]], small[rows[1][some]])
    order = np.lexsort((second, first, differences))
    order = order[differences[order] <= MOST_DIFFERENCE]
    return Pairs(first[order], second[order], differences[order])


def directions(features_NF: Tensor, outlines_NO: Tensor) -> Tensor:
    """Vectors of length one, float16 [N, F + O], whose product is the mean of two cosines: of features and of outlines.

    The features are centred: without that, what all images have in common makes all cosines large.
    """
    num, width = features_NF.shape
    mean_F = features_NF.mean(0, dtype=torch.float32)
    vectors_ND = features_NF.new_empty((num, width + outlines_NO.shape[1]), dtype=torch.float16)
    for start in range(0, num, _COLUMNS):  # a part at a time, in float32
        some = slice(start, start + _COLUMNS)
        vectors_ND[some, :width] = torch.nn.functional.normalize(features_NF[some].float() - mean_F) * 0.5**0.5
        vectors_ND[some, width:] = torch.nn.functional.normalize(outlines_NO[some].float()) * 0.5**0.5
    return vectors_ND


def candidates(
    vectors_ND: Tensor, guesses_N: np.ndarray, say: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of ids whose pixels are worth comparing, int64 [P] each, the smaller id first.

    Products are made in blocks, so that memory does not grow with the square of N.
    """
    cosines, firsts, seconds = [], [], []
    for ids in _families(guesses_N):
        rows_ND = vectors_ND[torch.from_numpy(ids).to(vectors_ND.device)]
        for start in range(0, len(ids), _ROWS):
            cosine, neighbour = _closest(rows_ND, start)
            near = cosine >= LEAST_COSINE
            row = (torch.arange(len(cosine), device=cosine.device)[:, None] + start).expand_as(neighbour)
            cosines.append(cosine[near].cpu())
            firsts.append(ids[row[near].cpu().numpy()])
            seconds.append(ids[neighbour[near].cpu().numpy()])
            say()
    best = torch.cat(cosines).argsort(descending=True, stable=True)[:MOST_PAIRS].numpy()
    return np.concatenate(firsts)[best], np.concatenate(seconds)[best]


def num_blocks(guesses_N: np.ndarray) -> int:
    """How many blocks `candidates` goes through."""
    return sum(-(-len(ids) // _ROWS) for ids in _families(guesses_N))


def _families(guesses_N: np.ndarray) -> Iterator[np.ndarray]:
    """Ids, ascending, each of which is compared with each other."""
    if len(guesses_N) <= ALL_WITH_ALL:
        yield np.arange(len(guesses_N))
        return
    order = np.argsort(guesses_N, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(guesses_N[order])) + 1)


def _closest(rows_ND: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """The closest later rows of each of a block of rows: cosines float32 [B, K] and their rows int64 [B, K]."""
    block_BD = rows_ND[start : start + _ROWS].float()
    cosine = block_BD.new_empty((len(block_BD), 0))
    neighbour = torch.empty((len(block_BD), 0), dtype=torch.int64, device=block_BD.device)
    for left in range(start, len(rows_ND), _COLUMNS):
        cosines_BM = block_BD @ rows_ND[left : left + _COLUMNS].float().T
        if left == start:  # an image beside itself and beside those before it
            cosines_BM.masked_fill_(torch.ones_like(cosines_BM, dtype=torch.bool).tril(), -1)
        best, where = cosines_BM.topk(min(NEIGHBOURS, cosines_BM.shape[1]), dim=1)
        cosine, neighbour = torch.cat([cosine, best], 1), torch.cat([neighbour, where + left], 1)
    cosine, where = cosine.topk(min(NEIGHBOURS, cosine.shape[1]), dim=1)
    return cosine, neighbour.gather(1, where)


def shrunk(image_HWC: np.ndarray) -> np.ndarray:
    """A small image of the same content, uint8 [16, 16, 3], for `difference`."""
    return np.asarray(Image.fromarray(image_HWC).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much small images differ beside brightness and colour cast, relative to their contrast: float32 [P].

    The root of the mean squared difference, each channel less its own mean, over the standard deviation of the pixels:
    0 for equal images, about 1.4 for unrelated ones. The second image is compared as it is, mirrored, and shifted by up
    to one of 16 pixels each way, and the least difference counts.

    Args:
        first, second: uint8 [P, 16, 16, 3].
    """
    first, second = (
        images.astype(np.float32) - images.mean((1, 2), np.float32, keepdims=True) for images in (first, second)
    )
    mine = first[:, 1:-1, 1:-1]
    mine = mine - mine.mean((1, 2), keepdims=True)
    num_values = mine[0].size
    my_power, squares = (mine**2).sum((1, 2, 3)), second**2
    least = np.full(len(first), np.inf, np.float32)
    for top in range(3):
        for left in range(3):
            rows, columns = slice(top, top + _SIDE - 2), slice(left, left + _SIDE - 2)
            other = second[:, rows, columns]
            # Sums of squares about the mean; `mine` has none, so that the other's drops out of the product.
            sums = other.sum((1, 2))
            power = my_power + squares[:, rows, columns].sum((1, 2, 3)) - 3 / num_values * (sums**2).sum(1)
            contrast = np.maximum(power / 2, _LEAST_CONTRAST**2 * num_values)
            for view in (other, other[:, :, ::-1]):
                apart = power - 2 * np.einsum("pijc,pijc->p", mine, view)
                least = np.minimum(least, np.maximum(apart, 0) / contrast)
    return np.sqrt(least)


def groups(pairs: Pairs, num_samples: int) -> np.ndarray:
    """The smallest id of the images that pairs connect, for each of them, int64 [N]; -1 for an image without a pair."""
    group = np.full(num_samples, -1, np.int64)
    paired = np.concatenate([pairs.first, pairs.second])
    group[paired] = paired
    while True:
        least = np.minimum(group[pairs.first], group[pairs.second])
        before = group.copy()
        np.minimum.at(group, pairs.first, least)
        np.minimum.at(group, pairs.second, least)
        if np.array_equal(before, group):
            return group
