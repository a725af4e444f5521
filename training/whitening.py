"""Filters that whiten the patches of pictures: RebarNet's frozen first layer. Knows tensors only."""

import torch
from torch import Generator, Tensor


def whitening_filters(images: Tensor, size: int = 2, eps: float = 5e-4) -> Tensor:
    """Filters whose responses to the images' patches have the identity as second-moment matrix.

    The eigenvectors of the patches' second moments, each over the root of its eigenvalue plus `eps`, which keeps
    nearly empty directions from becoming amplified noise. Computed in float64; the sign of each is fixed.

    Args:
        images: [B, 3, H, W] float32, normalised.
        size: side of the patches, in pixels.
        eps: added to the eigenvalues.

    Returns:
        [3 * size * size, 3, size, size] float32, the largest eigenvalue first.

    Raises:
        ValueError: images of another rank or number of channels.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"whitening_filters got shape {tuple(images.shape)}: needs [B, 3, H, W]")
    patches = images.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values.clamp_min(0) + eps).sqrt()).T.flip(0)
    strongest = filters.gather(1, filters.abs().argmax(1, keepdim=True))
    return (filters * strongest.sign()).reshape(-1, 3, size, size).float()


def random_filters(generator: Generator) -> Tensor:
    """[12, 3, 2, 2] orthonormal filters."""
    return torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q.reshape(12, 3, 2, 2)
