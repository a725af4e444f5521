"""Which number format the forward and backward passes use, and which device."""

from typing import NamedTuple

import torch


class Precision(NamedTuple):
    """What was chosen: `name` (bf16, fp16 or fp32), `dtype` for autocast or None for none, and why in one
    sentence."""

    name: str
    dtype: torch.dtype | None
    reason: str

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of forward passes and losses."""
        return torch.autocast(device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Resolve "auto", and check that an explicit choice can work on this device.

    Raises:
        ValueError: fp16 elsewhere than on a GPU, or an unknown name.
    """
    native = has_native_bf16(device)
    where = f"this {'GPU' if device.type == 'cuda' else 'processor'}"
    if name == "auto":
        if native:
            return Precision("bf16", torch.bfloat16, f"precision bf16: {where} computes it natively")
        return Precision("fp32", None, f"precision fp32: {where} has no bf16 units, which would make bf16 slower")
    if name == "fp32":
        return Precision("fp32", None, "precision fp32: as asked")
    if name == "bf16":
        if native:
            return Precision("bf16", torch.bfloat16, "precision bf16: as asked")
        reason = f"warning: precision bf16 as asked, but {where} has no bf16 units: expect it far slower than fp32"
        return Precision("bf16", torch.bfloat16, reason)
    if name == "fp16":
        if device.type != "cuda":
            raise ValueError(f"precision fp16 needs a GPU, the device is {device.type}: use bf16, fp32 or auto")
        return Precision("fp16", torch.float16, "precision fp16: as asked, with a scaled loss")
    raise ValueError(f"unknown precision {name!r}: allowed are auto, bf16, fp16, fp32")


def has_native_bf16(device: torch.device) -> bool:
    """True when the device multiplies bf16 in hardware; emulation does not count."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # torch before 2.10
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return any(supported for name, supported in capabilities().items() if "bf16" in name)


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """Resolve "auto" to a GPU where there is one.

    Args:
        local_rank: number of this rank on its machine, which takes the GPU of that number; None when it is alone.

    Raises:
        ValueError: a GPU was asked for and there is none, or the name is no device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: allowed are auto, cpu, cuda, cuda:0, ...") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r} is not supported: allowed are auto, cpu, cuda, cuda:0, ...")
    if device.type == "cuda" and local_rank is not None:
        device = torch.device("cuda", local_rank)
        if local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"rank {local_rank} of this machine has no GPU, torch sees {torch.cuda.device_count()}: start as many "
                "ranks per machine as it has GPUs, or use --device cpu"
            )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: torch sees {torch.cuda.device_count()} GPUs here: use --device cpu or auto")
    return device
