"""Which number format is chosen, and how the choice is told."""

import pytest
import torch

from training.machine import precision
from training.machine.precision import choose_device, choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("native", "name", "dtype"), [(True, "bf16", torch.bfloat16), (False, "fp32", None)])
def test_auto_follows_the_processor_and_says_why(monkeypatch, native, name, dtype):
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: native)
    chosen = choose_precision("auto", CPU)
    assert (chosen.name, chosen.dtype) == (name, dtype)
    assert chosen.reason.startswith(f"precision {name}: this processor")


def test_bf16_without_units_is_honoured_with_a_warning(monkeypatch):
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: False)
    chosen = choose_precision("bf16", CPU)
    assert chosen.dtype == torch.bfloat16
    assert chosen.reason.startswith("warning: ")
    assert "slower than fp32" in chosen.reason


def test_explicit_choices():
    assert choose_precision("fp32", CPU).dtype is None
    assert choose_precision("fp16", GPU).dtype == torch.float16
    with pytest.raises(ValueError, match="fp16 needs a GPU, the device is cpu"):
        choose_precision("fp16", CPU)
    with pytest.raises(ValueError, match="allowed are auto, bf16, fp16, fp32"):
        choose_precision("int8", CPU)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False), ({"avx512_bf16": True}, True), ({}, False)],
)
def test_native_bf16_is_read_from_the_processor(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision.has_native_bf16(CPU) is expected


def test_autocast_covers_the_forward_pass_only_when_asked():
    layer, x = torch.nn.Linear(4, 4), torch.zeros(2, 4)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with choose_precision(name, CPU).autocast(CPU):
            assert layer(x).dtype == dtype


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == CPU
    with pytest.raises(ValueError, match="torch sees 0 GPUs"):
        choose_device("cuda")
    with pytest.raises(ValueError, match="unknown device 'gpu0'"):
        choose_device("gpu0")
