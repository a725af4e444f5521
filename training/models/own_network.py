"""A network of your own: `--model FILE.py:FUNCTION`."""

from __future__ import annotations

import copy
import inspect

import torch
from torch import nn

from training.own_code import in_words, load_function


def build_own_network(name: str, num_classes: int, seed: int, width: float, channels: int) -> nn.Module:
    """What the function returns, given the number of classes; `width` and `channels`, of an image, where it has these
    parameters.

    Its initial values are drawn from torch's global generator, as torch's layers do, which is seeded with `seed` for
    the call and restored after it.

    Raises:
        ValueError: the file or the function fails, or the result is no network that can be trained.
    """
    function = load_function(name, "model")
    parameters = inspect.signature(function).parameters
    given = {key: value for key, value in (("width", width), ("channels", channels)) if key in parameters}
    if width != 1 and "width" not in given:
        raise ValueError(
            f"model {name} has no parameter named width, so --width {width:g} cannot be met: "
            "give it one, or say --width 1"
        )
    with torch.random.fork_rng(devices=[]):  # noqa: TID251 (the layers of others know no other generator)
        torch.default_generator.manual_seed(seed)
        model = function(num_classes, **given)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model {name} returned a {type(model).__name__}, needed: a torch.nn.Module")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"model {name} has no parameter to train")
    return model


def check_own_network(name: str, model: nn.Module, num_classes: int, shapes_CHW: list[tuple[int, int, int]]) -> bool:
    """Pass two images of each shape through a copy of the network on the CPU, as a training step would.

    Returns:
        whether the network draws at random in a step, as dropout does.

    Raises:
        ValueError: it fails, or its result is not logits.
    """
    draws = False
    for shape in shapes_CHW:
        seen = f"images of {shape[1]} x {shape[2]} pixels"
        seen += ", of one channel" if shape[0] == 1 else ""
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # noqa: TID251
            before = torch.get_rng_state()
            try:
                logits = copy.deepcopy(model).cpu().train()(torch.zeros(2, *shape))
            except Exception as error:
                hint = "let it take any size, or choose --size_schedule and --image_size to fit"
                raise ValueError(f"{in_words(name, 'model', error)}, given {seen}: {hint}") from error
            draws |= not torch.equal(before, torch.get_rng_state())
        if not isinstance(logits, torch.Tensor):
            got = f"a {type(logits).__name__}"
        elif logits.shape != (2, num_classes) or not logits.is_floating_point():
            got = f"{str(logits.dtype).removeprefix('torch.')} {[*logits.shape]}"
        else:
            continue
        raise ValueError(f"model {name} made {got} of two {seen}, needed: logits, float [2, {num_classes}]")
    return draws
