"""Fails where the host waits for a GPU."""

import contextlib
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def no_waiting(device: str = "cuda") -> Iterator[None]:
    """In the block torch raises an error where the host would wait for a GPU; on a CPU nothing is watched."""
    if device == "cpu":
        yield
        return
    with warnings.catch_warnings():  # torch's notice, once a process, would be an error, and leave the mode on
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
