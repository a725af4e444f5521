"""Opens a backend by its name, and chooses one where none is named."""

from __future__ import annotations

import importlib
import importlib.util

import torch

from .augment.config import Augment
from .backends.batching import Settings
from .backends.gpu.transfer import OnDevice
from .formats.dataset import DatasetFile
from .types import Backend

# Name -> module, imported when asked for; its `open_backend(dataset, settings)` returns a `Backend`.
BACKENDS = {
    "fused": ".backends.fused",
    "native": ".backends.native",
    "ffcv": ".backends.ffcv",
    "dali": ".backends.dali",
    "gpu": ".backends.gpu.raw",
    "nvimgcodec": ".backends.gpu.nvimgcodec",
    "reference": ".backends.reference",
}
# Those that can make batches on a GPU: their `obstacle` tells why not to, their `open_on_device` does it.
ON_DEVICE = ("fused", "dali", "gpu", "nvimgcodec")
# Those whose `remark` has something to add to where batches are made, when that is the host.
REMARKING = ("native", "nvimgcodec")


def open_engine(backend: str, dataset: DatasetFile, settings: Settings, device: torch.device) -> tuple[Backend, str]:
    """Open the backend on a device; returns it, and where it makes batches (see `Loader.residence`)."""
    module = importlib.import_module(BACKENDS[backend], __package__)
    reason = f"backend {backend!r} works there"
    if device.type == "cuda" and backend in ON_DEVICE:
        reason = module.obstacle(dataset, settings, device)
        if reason is None:
            engine = module.open_on_device(dataset, settings, device)
            return engine, engine.residence
    engine = module.open_backend(dataset, settings)
    remark = module.remark(dataset) if backend in REMARKING else ""
    if device.type == "cpu":
        return engine, f"batches made on the host{remark}"
    return OnDevice(engine, device), f"batches made on the host and copied to {device}: {reason}{remark}"


def choose_backend(dataset: DatasetFile, augment: Augment) -> str:
    """Resolve backend "auto" to a name.

    Raw pixels that keep their size: "fused". All else: "native", whose batches are copied to a GPU; the decoders for a
    GPU ("dali", "nvimgcodec") have not run on one yet, so they have to be asked for.
    """
    return "fused" if dataset.kind == "raw" and not augment.resize else "native"


def checked_device(device: str | torch.device) -> torch.device:
    """The device, a GPU with its number.

    Raises:
        ValueError: it is neither a CPU nor a GPU that torch sees.
    """
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: use 'cpu' or 'cuda'") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {str(device)!r} is not supported: use 'cpu' or 'cuda'")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but torch sees no CUDA device: use device='cpu'")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def is_installed(name: str) -> bool:
    """Whether a package can be found; it is not imported."""
    package, _, _ = name.rpartition(".")
    return (not package or is_installed(package)) and importlib.util.find_spec(name) is not None
