"""What the methods that choose within a batch remember from one batch to the next, and its way into a checkpoint.

Knows tensors and images; must not know what the methods do with them.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from loaders.types import Batch
from training.ledger import Ledger
from training.machine.distributed import Ranks
from training.methods import batch_ops


@dataclass
class Memory:
    """What the methods remember between batches; each uses some of it. All of it is in a checkpoint.

    Attributes:
        visits: int64 [N], samples trained on since the ledger was last told.
        held: chosen images (grad-norm: candidates) that wait for more, or None.
        history: float32 [up to HISTORY], latest losses (selective-backprop).
        passed_over: images since the last one that stayed (selective-backprop).
        norms: float32 [images held], or None (grad-norm).
        tau: float64 scalar, running mean (grad-norm).
        steps: that tau is the mean of (grad-norm).
        is_drawing: whether tau was above the threshold at the last look (grad-norm).
        hits: float64 [2], images of the running epoch that were classified rightly, and all of them (ordered-sgd).
        accuracy: of training in the epoch before, a share from 0 to 1 (ordered-sgd).
    """

    visits: Tensor
    held: Batch | None = None
    history: Tensor = field(default_factory=lambda: torch.zeros(0))
    passed_over: int = 0
    norms: Tensor | None = None
    tau: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    steps: int = 0
    is_drawing: bool = False
    hits: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    accuracy: float = 0.0

    def add_visits(self, ids_B: Tensor) -> None:
        """Count what was trained on, int64 [B]; without a host synchronisation."""
        self.visits.index_add_(0, ids_B, torch.ones_like(ids_B))

    def settle(self, ledger: Ledger, ranks: Ranks) -> None:
        """Tell the ledger the visits of all ranks, and move what the ranks have summed to rank 0; all ranks call it."""
        ledger.visits += ranks.all_reduce(self.visits).cpu().numpy()
        self.visits.zero_()
        ranks.reduce_to_writer(self.hits)

    def end_epoch(self, ranks: Ranks) -> None:
        """Take the epoch's accuracy, of all ranks."""
        right, num = ranks.all_reduce(self.hits).tolist()
        self.accuracy = right / num if num else self.accuracy
        self.hits.zero_()

    def state_dict(self) -> dict:
        return {**vars(self), "held": batch_ops.to_dict(self.held)}

    def load_state_dict(self, state: dict) -> None:
        device = self.visits.device
        for name in vars(self):
            value = state[name]
            setattr(self, name, value.to(device) if isinstance(value, Tensor) else value)
        self.held = batch_ops.from_dict(state["held"], device)


def new_memory(num_samples: int, device: torch.device) -> Memory:
    """Nothing seen yet."""
    memory = Memory(torch.zeros(num_samples, dtype=torch.int64, device=device))
    memory.history, memory.tau, memory.hits = (v.to(device) for v in (memory.history, memory.tau, memory.hits))
    return memory
