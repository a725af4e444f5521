"""RebarNet: a compact network for runs of a few minutes."""

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from training.models.mirror import MirrorConv2d, side_by_side, stacked
from training.models.whitening import EVEN, ODD, random_filters, whitening_filters

WIDTHS = (64, 128, 192)
"""Channels of the three groups at width 1."""
_STILL = 5e-3
"""Variance, as a part of its neighbours', below which a channel is still. The least lively one has 0.03 on CIFAR-10; on
digits over a black ground a channel that is largest on the ground has 0.002 behind two maxima, and 0 behind three."""
_LOOKED_AT = 64  # images


class RebarNet(nn.Module):
    """Frozen whitening, then three groups of convolutions, all of which commute with mirroring the image.

    Stem 2x2, to +/- the whitened components of a patch, those of even filters in both halves of its 32 channels; each
    group halves the resolution right after its first convolution and has an identity beside its last; batch norms
    learn no scale; the maximum over the remaining positions and both halves of the channels feeds a linear head. So a
    image and its mirror image have the same logits, exactly where W is a multiple of 8. The net of K. Jordan, "94% on
    CIFAR-10 in 3.29 seconds on a single A100" (arXiv:2404.00498), with filters in mirrored pairs and three convolutions
    a group in place of two: some 76 million multiplications per 32x32 image, 458 MFLOP forward and backward.

    Args:
        num_classes: number of logits.
        widths: channels of each group, even.
        channels: of an image, 3 or 1.

    Attributes:
        knows_mirror_images: True, see above.
        logit_scale: factor on the logits. The head starts with entries of standard deviation 0.1: with 1, as in the
            source, the first logits are so large that a run of a few hundred steps loses a tenth of its accuracy.
    """

    knows_mirror_images = True
    logit_scale = 1 / 9

    def __init__(self, num_classes: int, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4 * EVEN + 2 * ODD, 2, bias=False)
        self.stem.weight.requires_grad_(False)
        self.groups = nn.ModuleList(_Group(a, b) for a, b in pairwise((self.stem.out_channels, *widths)))
        self.head = nn.Linear(widths[-1] // 2, num_classes, bias=False)

    def initialise(self, generator: Generator, images: Tensor | None) -> None:
        """Sets the whitening stem, the partial identities and the head, over PyTorch's default values."""
        with torch.no_grad():
            channels = self.stem.in_channels
            filters = random_filters(generator, channels) if images is None else whitening_filters(images)
            even, odd = filters.split((EVEN, ODD))
            self.stem.weight.copy_(torch.cat([even, -even, odd, even, -even, -odd]))
            drawn = [conv.weight.clone() for conv, _ in self._layers()]
            for conv, _ in self._layers():
                conv.pass_through()
            if images is not None:
                self._redraw_still(images[:_LOOKED_AT], drawn)
            self.head.weight.mul_(0.1 / self.head.weight.std(correction=0))

    def _layers(self) -> Iterator[tuple[MirrorConv2d, nn.Module]]:
        """Each convolution, and the norm behind it."""
        for group in self.groups:
            assert isinstance(group, _Group)
            yield from zip((group.conv1, group.conv2, group.conv3), group.norms, strict=True)

    def _redraw_still(self, images: Tensor, drawn: list[Tensor]) -> None:
        """Gives channels that would pass a constant through their drawn filters back.

        The norm behind such a channel divides by next to nothing, so that gradients grow beyond all bounds.
        """
        lively = False
        while not lively:
            lively = True
            variances = self._variances(images)
            for (conv, _), filters, variance_C in zip(self._layers(), drawn, variances, strict=True):
                still_C = (variance_C < _STILL * variance_C.median()) & (conv.weight != filters).flatten(1).any(1)
                if still_C.any():
                    conv.weight[still_C] = filters[still_C]
                    lively = False
                    break  # what lies behind it changes

    def _variances(self, images: Tensor) -> list[Tensor]:
        """Of each channel before each norm, in a step of training: float32 [C]."""
        found: list[Tensor] = []
        looked = copy.deepcopy(self).train()  # the statistics of these norms stay as they are
        for _, norm in looked._layers():
            norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].var((0, 2, 3))))
        looked(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        x = F.gelu(self.stem(images))
        for group in self.groups:
            x = group(x)
        if torch.compiler.is_compiling():  # a compiled backward pass would find no maximum in an x computed anew
            torch._dynamo.graph_break()  # pyright: ignore[reportPrivateUsage]
        return self.head(side_by_side(x).amax((2, 3))) * self.logit_scale


class _Group(nn.Module):
    """Three 3x3 convolutions, the resolution halved after the first, an identity beside the last:
    [B, in, H, W] -> [B, out, (H - 1) // 2, (W - 1) // 2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = MirrorConv2d(in_channels, out_channels)
        self.conv2 = MirrorConv2d(out_channels, out_channels)
        self.conv3 = MirrorConv2d(out_channels, out_channels)
        self.norms = nn.ModuleList(_shift_norm(out_channels // 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        start = _norm_gelu(F.max_pool2d(self.conv1(x), 3, 2), self.norms[0])
        x = _norm_gelu(self.conv2(start), self.norms[1])
        return _norm_gelu(self.conv3(x), self.norms[2]) + start


def _norm_gelu(x: Tensor, norm: nn.Module) -> Tensor:
    """The norm, over both halves together, and GELU."""
    return stacked(F.gelu(norm(side_by_side(x))))


def _shift_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm that learns a shift only, its running statistics quick enough for runs of a few hundred steps."""
    norm = nn.BatchNorm2d(channels, momentum=0.2)
    norm.weight.requires_grad_(False)
    return norm
