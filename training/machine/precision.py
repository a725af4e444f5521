"""Which number format the forward and backward passes use. Knows processors; knows nothing of models or runs."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch

from training.cpu.team import has_matrix_unit, has_products, whole_factors_pay
from training.cpu.whole_factors import whole_factors


class Precision(NamedTuple):
    """What was chosen: `name` (bf16, fp16, int16 or fp32), `dtype` for autocast or None for none, and why in one
    sentence."""

    name: str
    dtype: torch.dtype | None
    reason: str

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """The context of forward passes and losses."""
        if self.name == "int16":
            return whole_factors()
        return torch.autocast(device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)


def choose_precision(name: str, device: torch.device, has_compiled_layers: bool = False) -> Precision:
    """Resolve "auto", and check that an explicit choice can work on this device.

    Args:
        has_compiled_layers: whether the network's convolutions are those of training/cpu, which int16 is for.

    Raises:
        ValueError: fp16 elsewhere than on a GPU, int16 where nothing computes it, or an unknown name.
    """
    native = has_native_bf16(device)
    where = f"this {'GPU' if device.type == 'cuda' else 'processor'}"
    if name == "auto":
        if native:
            return Precision("bf16", torch.bfloat16, f"precision bf16: {where} computes it natively")
        if has_compiled_layers and device.type == "cpu" and whole_factors_pay():
            why = f"{where} has no bf16 units; bf16 between layers, convolutions of whole numbers, quicker than fp32"
            return Precision("int16", None, f"precision int16: {why}")
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
    if name == "int16":
        if device.type != "cpu" or not has_products(torch.int16):
            raise ValueError(f"precision int16 needs a processor with AVX2: {where} has none; use bf16, fp32 or auto")
        if not has_compiled_layers:
            raise ValueError("precision int16 is for rebarnet without --compile: use bf16, fp32 or auto")
        return Precision("int16", None, "precision int16: as asked")
    raise ValueError(f"unknown precision {name!r}: allowed are auto, bf16, fp16, fp32, int16")


def default_size(device: torch.device, precision: Precision) -> tuple[int, float]:
    """Epochs of the default full budget and width of RebarNet: what two cores train in a quarter of an hour, and a
    GPU, for which a wider network takes hardly longer, in half a minute."""
    if device.type == "cuda":
        return (8, 1.5) if has_native_bf16(device) else (8, 0.5)
    if has_native_bf16(device):  # elsewhere than in training/cpu, and than on AMX, a step takes twice as long
        return (11, 1.0) if has_products(torch.bfloat16) or has_matrix_unit() else (11, 0.6)
    if precision.name == "int16":
        return 11, 0.8
    return (9, 0.6) if has_products(torch.float32) else (8, 0.5)


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
