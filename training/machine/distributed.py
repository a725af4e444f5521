"""Several processes that train one model: the rank of this one, and the collectives between them.

One process alone is one rank, for which every collective returns at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.machine.batch_norm import over_all_ranks

TIMEOUT = timedelta(minutes=2)
"""How long a rank waits for the others. A rank that ends is noticed at once; this is for one that hangs, and longer
than the longest regular wait: compiling kernels, writing a checkpoint."""


class OtherRankFailed(Exception):
    """Another rank has raised an error, which it reports itself."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: 0..world_size-1; rank 0 is the only one that writes.
        world_size: number of processes of the run.
        local_rank: number of the process on its machine, which is that of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_writer(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is only one rank."""
        return self.world_size == 1

    @contextmanager
    def together(self) -> Iterator[None]:
        """If any rank raises inside the block, every rank raises. A collective in it must come before what can fail.

        Raises:
            the block's own error at the lowest rank that has one; OtherRankFailed at all others.
        """
        if self.is_alone:
            yield
            return
        error = None
        try:
            yield
        except (ValueError, OSError, ImportError, SystemExit) as caught:
            error = caught
        first = torch.tensor(self.world_size if error is None else self.rank)
        dist.all_reduce(first, dist.ReduceOp.MIN)
        if error is not None and first == self.rank:
            raise error
        if first < self.world_size:
            raise OtherRankFailed

    def broadcast(self, data: bytes) -> bytes:
        """The bytes (at least one) of rank 0, on all ranks; those that the other ranks pass in are ignored."""
        if self.is_alone:
            return data
        size = torch.tensor(len(data))
        dist.broadcast(size, 0)
        if self.is_writer:
            dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0)
            return data
        buffer = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()

    def all_reduce_max(self, *values: float) -> list[float]:
        """The largest of each value over the ranks, the same on all. Between hosts only: no device is waited for."""
        if self.is_alone:
            return [*values]
        both = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return both.tolist()

    def all_reduce(self, total: Tensor) -> Tensor:
        """Replace a tensor by its sum over the ranks."""
        if not self.is_alone:
            dist.all_reduce(total)
        return total

    def reduce_to_writer(self, total: Tensor) -> None:
        """Move the ranks' parts of a sum to rank 0, and leave zeros on the others."""
        self.all_reduce(total)
        if not self.is_writer:
            total.zero_()

    def shard(self, num_samples: int) -> np.ndarray:
        """This rank's ids of 0..num_samples-1, int64; those of all ranks together are each id once."""
        return np.arange(self.rank, num_samples, self.world_size, dtype=np.int64)

    def distribute(self, model: nn.Module, device: torch.device) -> nn.Module:
        """What a step calls in place of the model, so that gradients are means over the ranks.

        The statistics of batch norms are those of the global batch.
        """
        if self.is_alone:
            return model
        on_gpu = device.type == "cuda"
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model) if on_gpu else over_all_ranks(model)
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[device.index] if on_gpu else None, gradient_as_bucket_view=True
        )

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give all ranks rank 0's running statistics."""
        if not self.is_alone:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)


@contextmanager
def join() -> Iterator[Ranks]:
    """The ranks that torchrun has started; one rank where it has not.

    An error of the process group (another rank has ended, or has not answered within TIMEOUT) leaves the block as torch
    raised it; torchrun's report then names the rank that failed first. A note says how to go on.
    """
    ranks = Ranks(*(int(os.environ.get(name, default)) for name, default in _ENVIRONMENT))
    if ranks.is_alone:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
        _joined.append(dist.group.WORLD)
        yield ranks
    except RuntimeError as error:
        error.add_note("the same command with --resume continues from the last checkpoint")
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


_joined: list[dist.ProcessGroup | None] = []
"""Kept to the end of the process. A network that an error leaves behind outlives the block; were its reference to the
group the last one, the group's threads would be joined under the interpreter's lock, which they may be waiting for."""

_ENVIRONMENT = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
