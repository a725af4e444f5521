"""The ResNets of CIFAR, as layers without initial values."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

_conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)


class ResNet(nn.Module):
    """The CIFAR ResNet of basic blocks (He et al., arXiv:1512.03385): the first group keeps the resolution."""

    def __init__(self, num_classes: int, widths: tuple[int, ...], blocks: int, image_channels: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv3x3(image_channels, widths[0]), nn.BatchNorm2d(widths[0])
        layers, channels = [], widths[0]
        for k, out in enumerate(widths):
            for block in range(blocks):
                layers.append(_BasicBlock(channels, out, stride=2 if k and not block else 1))
                channels = out
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.conv(images))))
        return self.head(self.pool(x).flatten(1))


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride=stride)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.norm1, self.norm2 = nn.BatchNorm2d(out_channels), nn.BatchNorm2d(out_channels)
        self.stride, self.shortcut = stride, nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)  # its stride is taken in `forward`
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        # A 1x1 convolution of stride 2 sees every second pixel. Given just these, it is one of stride 1: torch 2.13
        # writes beside its memory in the weight gradient of the former, on a CPU, in channels-last order, with fewer
        # than 16 input channels at 48 pixels and more.
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x[:, :, :: self.stride, :: self.stride]))
