"""Random numbers of a batch, from the plan's key and the global position of each sample."""

import numpy as np
import torch
from torch import Tensor

from loaders.backends.gpu.transfer import sent
from loaders.order.rng import CHOICE, fold_in, hash_array
from loaders.types import EpochPlan


def random_bits(plan: EpochPlan, first: int, num: int) -> np.ndarray:
    """The random bits of positions first..first+num-1 of a rank's plan: uint64 [num].

    A pure function of the plan's key and the position in the global plan: it does not matter where an epoch was
    resumed, or how many images were chosen before.
    """
    positions = plan.rank + plan.world_size * np.arange(first, first + num, dtype=np.int64)
    return hash_array(fold_in(plan.key, CHOICE), positions)


def uniforms(bits: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """float64 in [0, 1) out of 64 random bits each."""
    return to_device((bits >> np.uint64(11)) * 2.0**-53, torch.device(device))


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The values as a tensor on the device; the host does not wait for a copy."""
    tensor = sent(torch.from_numpy(values), device)
    assert tensor is not None
    return tensor
