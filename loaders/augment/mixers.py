"""Mixing the images of a batch by mixup, CutMix or RICAP: three frozen values, and the draws of one batch.

The draws are a pure function of (plan key, MIXER, global position of the batch's first sample), in integers and in
numbers rounded to integers, so every backend mixes the same. Partners come from the same batch of the same rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..compiled import compiled
from ..order.permutation import fisher_yates
from ..order.rng import MIXER, fold_in, hash64

ONE = 1 << 16  # mixup's fraction of the first partner is a whole number of 2^-16
# Draw indices under the batch's key: two a Beta draw, one a patch and axis, one a permutation.
_BETA_1, _BETA_2, _Y, _X, _PERMUTATION, _NUM_DRAWS = 0, 2, 4, 8, 12, 16


@dataclass(frozen=True)
class Mixup:
    """Blend each image with another one of its batch (Zhang et al. 2018).

    x_i <- s x_i + (1 - s) x_p(i), with one s ~ Beta(alpha, alpha) and one permutation p a batch.

    Attributes:
        alpha: above 0; the smaller, the nearer s is to 0 or 1.
    """

    alpha: float = 0.3

    def __post_init__(self):
        _positive("alpha", self.alpha)


@dataclass(frozen=True)
class CutMix:
    """Let a box of each image show the same box of another one of its batch (Yun et al. 2019).

    Before the borders cut it, the box takes 1 - Beta(alpha, alpha) of the image; one box and one permutation a batch.

    Attributes:
        alpha: above 0; with 1, all areas are equally likely.
    """

    alpha: float = 1.0

    def __post_init__(self):
        _positive("alpha", self.alpha)


@dataclass(frozen=True)
class RICAP:
    """Put parts of four images of the batch together, around one point (Takahashi et al. 2018).

    The width and the height of the first part are W and H times Beta(beta, beta); one point, four permutations and four
    crop offsets a batch.

    Attributes:
        beta: above 0; the smaller, the nearer the point is to a border.
    """

    beta: float = 0.3

    def __post_init__(self):
        _positive("beta", self.beta)


class MixGeometry(NamedTuple):
    """How one batch is mixed. Sample i is made of the augmented images of the samples partners[i].

    Attributes:
        partners: int64 [B, P], positions in the batch.
        shares: float32 [P], sum to one; shares of light (mixup) or of area.
        boxes: int64 [P, 6]: top, left, height and width in the result, top and left in the partner. Later boxes cover
            earlier ones; a box may be empty.
        blend: -1: the boxes are copied. Otherwise the images are blended, blend / 2^16 of the first.
    """

    partners: np.ndarray
    shares: np.ndarray
    boxes: np.ndarray
    blend: int


def draw_mix(mixer: Mixup | CutMix | RICAP, key: int, first: int, num: int, height: int, width: int) -> MixGeometry:
    """Draw how one batch is mixed.

    Args:
        key: of the plan.
        first: global position of the batch's first sample.
        num: B >= 1, samples of the batch.
        height, width: pixels of every image.

    Returns:
        Partners, fractions and boxes of all samples.
    """
    words = [int(word) for word in _random_words(np.uint64(fold_in(key, MIXER, first)))]
    partners = np.empty((num, 4 if isinstance(mixer, RICAP) else 2), np.int64)
    _draw_partners(partners, np.array(words[_PERMUTATION:], np.uint64), not isinstance(mixer, RICAP))
    if isinstance(mixer, RICAP):
        y, x = (symmetric_beta(mixer.beta, *words[index : index + 2]) for index in (_BETA_1, _BETA_2))
        boxes = _ricap_boxes(math.floor(height * y + 0.5), math.floor(width * x + 0.5), height, width, words)
        return MixGeometry(partners, _areas(boxes, height, width), boxes, -1)
    fraction = symmetric_beta(mixer.alpha, *words[_BETA_1 : _BETA_1 + 2])
    whole = [0, 0, height, width, 0, 0]
    if isinstance(mixer, Mixup):
        blend = math.floor(fraction * ONE + 0.5)
        shares = np.array([blend, ONE - blend], np.float32) / np.float32(ONE)
        return MixGeometry(partners, shares, np.array([whole, whole]), blend)
    boxes = np.array([whole, _cutmix_box(fraction, height, width, words)])
    shares = _areas(boxes, height, width)
    shares[0] -= shares[1]
    return MixGeometry(partners, shares, boxes, -1)


def symmetric_beta(alpha: float, word: int, other: int) -> float:
    """A draw from Beta(alpha, alpha) out of two words of 64 random bits, without rejection.

    w = (u^(-1/alpha) - 1) cos^2(2 pi v);  B = 1/2 (1 +- sqrt(w / (1 + w))), the sign that of the cosine (Devroye,
    "Random variate generation in one line of code", WSC 1996: Bailey's polar method for Student's t, transformed).
    The callers round B to whole pixels or 2^-16, which hides the last bit in which mathematical libraries differ.
    """
    u, v = ((word >> 11) + 1) * 2.0**-53, (other >> 11) * 2.0**-53
    cosine = math.cos(2 * math.pi * v)
    w = math.expm1(min(-math.log(u) / alpha, 600.0)) * cosine * cosine
    return 0.5 + math.copysign(0.5 * math.sqrt(w / (1 + w)), cosine)


@compiled()
def _random_words(key):
    words = np.empty(_NUM_DRAWS, np.uint64)
    for index in range(_NUM_DRAWS):
        words[index] = hash64(key, np.uint64(index))
    return words


@compiled()
def _draw_partners(partners, keys, itself):
    """Fill int64 [B, P] with a permutation a column; the first is the identity where the image stays `itself`."""
    for k in range(partners.shape[1]):
        column = partners[:, k]
        for i in range(len(column)):
            column[i] = i
        if k or not itself:
            fisher_yates(column, keys[k])


def _below(word: int, n: int) -> int:
    return (word >> 32) * n >> 32


def _areas(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    return (boxes[:, 2] * boxes[:, 3] / (height * width)).astype(np.float32)


def _ricap_boxes(y: int, x: int, height: int, width: int, words: list[int]) -> np.ndarray:
    rows, columns = ((0, y), (y, height - y)), ((0, x), (x, width - x))
    boxes = [[top, left, h, w] for top, h in rows for left, w in columns]
    for k, (_, _, h, w) in enumerate(boxes):
        boxes[k] += [_below(words[_Y + k], height - h + 1), _below(words[_X + k], width - w + 1)]
    return np.array(boxes)


def _cutmix_box(fraction: float, height: int, width: int, words: list[int]) -> list[int]:
    """The second box: int(n sqrt(1 - fraction)) of n pixels each way around a random pixel, cut at the borders."""
    y, x = _below(words[_Y], height), _below(words[_X], width)
    half_y, half_x = (int(n * math.sqrt(1 - fraction)) // 2 for n in (height, width))
    top, left = max(y - half_y, 0), max(x - half_x, 0)
    return [top, left, min(y + half_y, height) - top, min(x + half_x, width) - left, top, left]


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} of a Beta distribution is a number > 0, got {value}: use such as 0.3 or 1.0")
