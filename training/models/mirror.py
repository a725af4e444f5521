"""Layers that commute with mirroring an image left to right: mirrored in, mirrored out.

Their channels come in two halves: channel C + c of 2 C holds, at the mirrored place, what channel c would hold had the
image been mirrored. A convolution learns the filters of the first half and reads those of the second half off them:
what it learns from an image it has learned from the mirror image too, at the price of an ordinary convolution with as
many channels. The regular representation of the group of two of T. Cohen and M. Welling, "Group equivariant
convolutional networks" (arXiv:1602.07576), section 6.

Exact where padding and strides are symmetric: a pool of 3 by stride 2 over an odd width is, one of 2 by 2 is not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MirrorConv2d(nn.Conv2d):
    """A 3x3 convolution, padded by one, without bias: [B, in_channels, H, W] -> [B, out_channels, H, W].

    Args:
        in_channels, out_channels: of both halves together.

    Attributes:
        weight: [out_channels // 2, in_channels, 3, 3], the filters of the first half, for which the base class counts
            its `out_channels`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels // 2, kernel_size=3, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        mirrored = self.weight.flip(3).roll(self.in_channels // 2, 1)
        return F.conv2d(input, torch.cat((self.weight, mirrored)), padding=1)

    def pass_through(self) -> None:
        """Makes the first output channels, as many as there are, the first input channels themselves."""
        nn.init.dirac_(self.weight[: self.in_channels // 2])


def side_by_side(x: Tensor) -> Tensor:
    """[B, 2 C, H, W] -> [B, C, H, 2 W]: the halves as more places of the same channels, for statistics over both.

    A view in channels-last order; so is the opposite, `stacked`.
    """
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, height, 2 * width, channels // 2).permute(0, 3, 1, 2)


def stacked(x: Tensor) -> Tensor:
    """[B, C, H, 2 W] -> [B, 2 C, H, W]."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, height, width // 2, 2 * channels).permute(0, 3, 1, 2)
