"""The networks: RebarNet, and two ResNets to compare with.

Knows layers and their initial values; knows nothing of data files, optimizers or loops. All initial values come from
the generator that is handed in: layers are made on the meta device, so that no global generator is touched.
Images are float32 [B, 3, H, W], normalised, channels-last; H and W at least 16; logits are [B, num_classes].
"""

from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from training.resnets import ResNet
from training.whitening import random_filters, whitening_filters

NAMES = ("rebarnet", "resnet18", "resnet8")
WIDTHS = (64, 128, 256)
"""Channels of RebarNet's three groups at width 1."""

COMPONENTS = 12
"""Whitened components of a 2x2 patch of RGB, all of which RebarNet's stem keeps; each comes with both signs."""


def build_model(
    name: str,
    num_classes: int,
    *,
    generator: Generator,
    width: float = 1.0,
    whitening_images: Tensor | None = None,
) -> nn.Module:
    """Makes a network with its initial values drawn from `generator`, in channels-last order on the CPU.

    Args:
        name: "rebarnet"; "resnet18", the CIFAR form (3x3 stem of stride 1, widths 64 to 512, 11,173,962 parameters for
            10 classes, PyTorch's default initial values); "resnet8", its small sister (widths 16 to 64).
        num_classes: number of logits.
        generator: source of all randomness.
        width: factor on the number of channels.
        whitening_images: [B, 3, H, W] float32, normalised training images for RebarNet's frozen first filters; a few
            hundred are enough. Without them the first filters are orthonormal at random.

    Raises:
        ValueError: an unknown name or a number out of range.
    """
    if name not in NAMES:
        raise ValueError(f"model got {name!r}: the names are {', '.join(NAMES)}")
    if num_classes < 1 or width <= 0:
        raise ValueError(f"build_model got num_classes={num_classes}, width={width}: both must be positive")
    with torch.device("meta"):
        if name == "rebarnet":
            model = RebarNet(num_classes, tuple(_channels(w, width) for w in WIDTHS))
        else:
            base, groups, blocks = (64, 4, 2) if name == "resnet18" else (16, 3, 1)
            model = ResNet(num_classes, tuple(_channels(base << k, width) for k in range(groups)), blocks)
    model.to_empty(device="cpu")
    for module in model.modules():
        _initialise(module, generator)
    if isinstance(model, RebarNet):
        model.initialise(generator, whitening_images)
    return model.to(memory_format=torch.channels_last)


class RebarNet(nn.Module):
    """A compact VGG-like network for runs of a few minutes: frozen whitening, then three groups of two convolutions.

    Stem 2x2, to +/- the 12 whitened components of a patch; each group halves the resolution right after its first
    convolution; batch norms learn no scale; the maximum over the remaining positions feeds a linear head. A net of the
    family of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single A100" (arXiv:2404.00498), with narrower groups:
    some 65 million multiplications per 32x32 image.

    Args:
        num_classes: number of logits.
        widths: channels of each group.
        logit_scale: factor on the logits. The head starts with entries of standard deviation 0.1: with 1, as in the
            source, the first logits are so large that a run of a few hundred steps loses a tenth of its accuracy.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...], logit_scale: float = 1 / 9) -> None:
        super().__init__()
        self.logit_scale = logit_scale
        self.stem = nn.Conv2d(3, 2 * COMPONENTS, 2)
        self.stem.weight.requires_grad_(False)
        self.act = nn.GELU()
        self.groups = nn.ModuleList(_Group(a, b) for a, b in zip((2 * COMPONENTS, *widths), widths, strict=False))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    def initialise(self, generator: Generator, images: Tensor | None) -> None:
        """Sets the whitening stem, the partial identities and the head, over PyTorch's default values."""
        with torch.no_grad():
            filters = random_filters(generator) if images is None else whitening_filters(images)
            self.stem.weight.copy_(torch.cat([filters, -filters]))
            self.stem.bias.zero_()
            for group in self.groups:
                for conv in (group.conv1, group.conv2):
                    nn.init.dirac_(conv.weight[: conv.in_channels])
            self.head.weight.mul_(0.1 / self.head.weight.std(correction=0))

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.stem(images))
        for group in self.groups:
            x = group(x)
        return self.head(x.amax((2, 3))) * self.logit_scale


class _Group(nn.Module):
    """Two 3x3 convolutions, the resolution halved after the first: [B, in, H, W] -> [B, out, H // 2, W // 2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.norm1, self.norm2 = _shift_norm(out_channels), _shift_norm(out_channels)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return self.act(self.norm2(self.conv2(x)))


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Sorts the trainable parameters by how they are stepped; every one is in exactly one list.

    Returns:
        "filters": convolution filters (Muon, or SGD); "stem_bias": the bias behind the frozen stem, if there is one;
        "biases": other parameters of one axis (norms, biases); "head": the matrix of the last layer.
    """
    groups: dict[str, list[nn.Parameter]] = {"filters": [], "stem_bias": [], "biases": [], "head": []}
    for name, p in model.named_parameters():
        if p.requires_grad:
            kind = "filters" if p.ndim == 4 else "head" if p.ndim == 2 else "biases"
            groups["stem_bias" if name == "stem.bias" else kind].append(p)
    return groups


def _channels(base: int, width: float) -> int:
    """Scaled to a multiple of 8, the vector length of float32 filters; at least 8."""
    return max(8, round(base * width / 8) * 8)


_conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)


def _shift_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm that learns a shift only, its running statistics quick enough for runs of a few hundred steps."""
    norm = nn.BatchNorm2d(channels, momentum=0.2)
    norm.weight.requires_grad_(False)
    return norm


def _initialise(module: nn.Module, generator: Generator) -> None:
    """PyTorch's default initial values, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), from the given generator."""
    if isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()
    elif isinstance(module, nn.Conv2d | nn.Linear):
        bound = module.weight[0].numel() ** -0.5
        with torch.no_grad():
            for p in (module.weight, module.bias):
                if p is not None:
                    p.uniform_(-bound, bound, generator=generator)
