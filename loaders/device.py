"""Carry host batches to a CUDA device on a side stream, one batch ahead of the consumer.

Knows streams. Knows no backend: it wraps any whose `epoch` yields host batches, page-locked where it is to be fast.
"""

from collections import deque
from collections.abc import Iterator

import torch

from loaders.types import Batch, EpochPlan

IN_FLIGHT = 2  # host batches that a copy may still be reading


class OnDevice:
    """A backend over a backend: the same batches, on `device`.

    The copies come before the consumer's work on its current stream; the host never waits for the consumer's work.
    """

    def __init__(self, host, device: torch.device):
        self.host, self.device = host, device

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Iterator[Batch]:
        """As in the host's backend."""
        return self._upload(self.host.epoch(plan, start_batch))

    def _upload(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        stream = torch.cuda.Stream(self.device)
        copying: deque = deque()  # (event, host batch): a buffer is not filled again while it is read
        sent: deque = deque()  # (event, device batch), at most one ahead
        try:
            for batch in batches:
                with torch.cuda.stream(stream):
                    moved = Batch(*(None if x is None else x.to(self.device, non_blocking=True) for x in batch))
                    event = stream.record_event()
                copying.append((event, batch))
                sent.append((event, moved))
                del batch, moved
                while len(copying) > IN_FLIGHT:
                    copying.popleft()[0].synchronize()
                if len(sent) > 1:
                    yield self._received(*sent.popleft())
            while sent:
                yield self._received(*sent.popleft())
        finally:
            batches.close()
            stream.synchronize()

    def _received(self, event: torch.cuda.Event, batch: Batch) -> Batch:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        for tensor in batch:
            if tensor is not None:
                tensor.record_stream(current)
        return batch
