"""The networks: RebarNet, and two ResNets to compare with.

Knows layers and their initial values; knows nothing of data files, optimizers or loops. All initial values come from
the generator that is handed in: layers are made on the meta device, so that no global generator is touched.
Images are float32 [B, 3, H, W], normalised, channels-last; H and W at least 16; logits are [B, num_classes].
"""

from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

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
            filters = _random_filters(generator) if images is None else whitening_filters(images)
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


class ResNet(nn.Module):
    """The CIFAR ResNet of basic blocks (He et al., arXiv:1512.03385): the first group keeps the resolution."""

    def __init__(self, num_classes: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv3x3(3, widths[0]), nn.BatchNorm2d(widths[0])
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
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


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


def _random_filters(generator: Generator) -> Tensor:
    """[12, 3, 2, 2] orthonormal filters."""
    return torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q.reshape(12, 3, 2, 2)


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
