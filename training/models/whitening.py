"""Filters that whiten the patches of images: RebarNet's frozen first layer.

Half of the filters are even under mirroring left to right, half are odd: over images and their mirror images, sum
and difference of a patch's two columns are uncorrelated, so each is whitened by itself.
"""

import torch
from torch import Generator, Tensor

EVEN, ODD = 5, 6
"""Components of a 2x2 patch of RGB. The last of the even ones, which carries least, is left out: with their negatives
these are 16 in each half of mirrored channels. Of grey images there are two and two, each of which stands here several
times, so that the layers behind are the same."""
_STILL = 1e-7
"""Second moment up to which images do not vary in a direction at all, as grey ones do not in colour."""


def whitening_filters(images: Tensor, eps: float = 5e-4) -> Tensor:
    """Filters whose responses to 2x2 patches of the images and of their mirror images have the identity as
    second-moment matrix.

    The eigenvectors of the second moments, each over the root of its eigenvalue plus `eps`, which keeps nearly empty
    directions from becoming amplified noise. Directions without any signal repeat the strongest ones: their channels
    would be constant, and each norm behind them would amplify rounding errors and gradients. Computed in float64; the
    sign of each is fixed.

    Args:
        images: [B, C, H, W] float32, normalised; C is 3 or 1.
        eps: added to the eigenvalues.

    Returns:
        [EVEN + ODD, C, 2, 2] float32, even ones and then odd ones, of each the largest eigenvalue first.

    Raises:
        ValueError: images of another rank or number of channels.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"whitening_filters got shape {tuple(images.shape)}: needs [B, 3, H, W] or [B, 1, H, W]")
    columns = images.double().unfold(2, 2, 1).permute(0, 2, 3, 1, 4).flatten(3)  # [B, H - 1, W, 2 C]
    left, right = (part.flatten(0, 2) for part in (columns[:, :, :-1], columns[:, :, 1:]))
    return _filters(_whitening(left + right, eps), _whitening(left - right, eps)).float()


def _whitening(values_NK: Tensor, eps: float) -> Tensor:
    """[ODD, K] rows whose products with values / sqrt(2) are white; the K of them, again and again."""
    values, vectors = torch.linalg.eigh(values_NK.T @ values_NK / (2 * len(values_NK)))
    values, vectors = values.flip(0), vectors.flip(1)
    alive = max(int((values > _STILL).sum()), 1)
    rows = (vectors / (values.clamp_min(0) + eps).sqrt()).T[torch.arange(ODD) % alive]
    strongest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * strongest.sign()


def random_filters(generator: Generator, channels: int = 3) -> Tensor:
    """[EVEN + ODD, C, 2, 2] orthonormal filters, even ones and then odd ones; of grey images, each of them repeated."""
    size, rows = 2 * channels, torch.arange(ODD) % (2 * channels)
    return _filters(*(torch.linalg.qr(torch.randn(size, size, generator=generator)).Q[rows] for _ in range(2)))


def _filters(even: Tensor, odd: Tensor) -> Tensor:
    """[ODD, 2 C] rows over channel and height, for sum and difference of the columns over sqrt(2)."""
    even, odd = even[:EVEN], odd[:ODD]
    both = torch.stack((torch.cat((even, odd)), torch.cat((even, -odd))), -1)
    return both.reshape(EVEN + ODD, -1, 2, 2) / 2**0.5
