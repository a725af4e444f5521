"""The networks by name, with their initial values: RebarNet, and two ResNets to compare with.

Images are float32 [B, C, H, W], normalised, channels-last; RebarNet's H and W are at least 16; logits are
[B, num_classes]. Layers are made on the meta device and filled from the generator that is handed in, so that no global
generator is touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from training.models.own_network import build_own_network
from training.models.rebarnet import WIDTHS, RebarNet
from training.models.resnet import ResNet
from training.own_code import is_own

NAMES = ("rebarnet", "resnet18", "resnet8")


def build_model(
    name: str,
    num_classes: int,
    *,
    generator: Generator,
    width: float = 1.0,
    channels: int = 3,
    whitening_images: Tensor | None = None,
) -> nn.Module:
    """Make a network with its initial values drawn from `generator`, in channels-last order on the CPU.

    Args:
        name: "rebarnet"; "resnet18", the CIFAR form (3x3 stem of stride 1, widths 64 to 512, 11,173,962 parameters for
            10 classes, PyTorch's default initial values); "resnet8", its small sister (widths 16 to 64); or
            FILE.py:FUNCTION of your own (`training.models.own_network`).
        num_classes: number of logits.
        generator: source of all randomness.
        width: factor on the number of channels; RebarNet's become multiples of 16, those of the others multiples of 8.
        channels: C of the images, 3 or 1.
        whitening_images: [B, C, H, W] float32, normalised training images for RebarNet's frozen first filters; a few
            hundred are enough. Without them the first filters are orthonormal at random.

    Raises:
        ValueError: an unknown name or a number out of range.
    """
    if is_own(name):
        model = build_own_network(name, num_classes, generator.initial_seed(), width, channels)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if name not in NAMES:
        raise ValueError(f"model got {name!r}: the names are {', '.join(NAMES)}, or FILE.py:FUNCTION for your own")
    if num_classes < 1 or width <= 0:
        raise ValueError(f"build_model got num_classes={num_classes}, width={width}: both must be positive")
    with torch.device("meta"):
        if name == "rebarnet":
            widths = tuple(max(16, -(-round(w * width) // 16) * 16) for w in WIDTHS)
            model = RebarNet(num_classes, widths, channels)
        else:
            base, groups, blocks = (64, 4, 2) if name == "resnet18" else (16, 3, 1)
            model = ResNet(num_classes, tuple(_channels(base << k, width) for k in range(groups)), blocks, channels)
    model.to_empty(device="cpu")
    for module in model.modules():
        _initialise(module, generator)
    if isinstance(model, RebarNet):
        model.initialise(generator, whitening_images)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trainable parameters by how they are stepped; each is in exactly one list.

    Returns:
        "filters": convolution filters (Muon, or SGD); "biases": parameters of one axis (norms, biases); "head": the
        matrix of the last layer.
    """
    groups: dict[str, list[nn.Parameter]] = {"filters": [], "biases": [], "head": []}
    for p in model.parameters():
        if p.requires_grad:
            groups["filters" if p.ndim == 4 else "head" if p.ndim == 2 else "biases"].append(p)
    return groups


def last_linear(model: nn.Module) -> nn.Linear:
    """The network's last linear layer, which makes the logits of its features.

    Raises:
        ValueError: it has none.
    """
    for module in reversed([*model.modules()]):
        if isinstance(module, nn.Linear):
            return module
    raise ValueError("the network has no nn.Linear, of whose input its features are taken: let one make its logits")


@contextmanager
def features_of(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What the network's last linear layer makes the logits of: in the block, `features` [B, D] of its latest pass.

    Raises:
        ValueError: it has no such layer.
    """
    latest: dict[str, Tensor] = {}
    hook = last_linear(model).register_forward_pre_hook(lambda _, inputs: latest.update(features=inputs[0]))
    try:
        yield latest
    finally:
        hook.remove()


def _channels(base: int, width: float) -> int:
    """Scaled to a multiple of 8; at least 8."""
    return max(8, round(base * width / 8) * 8)


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
