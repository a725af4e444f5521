"""Carry host batches to a CUDA device on a side stream, one batch ahead of the consumer.

It wraps any backend whose `epoch` yields host batches; page-locked ones are copied without the host waiting.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from loaders.types import Batch, EpochPlan, Mix

IN_FLIGHT = 2  # host batches that a copy may still be reading


class OnDevice:
    """A backend over a backend: the same batches, on `device`.

    The copies come before the consumer's work on its current stream; the host never waits for the consumer's work.
    """

    def __init__(self, host: Any, device: torch.device):
        self.host, self.device = host, device

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Iterator[Batch]:
        """Deliver a plan as the host's backend does, on the device."""
        return self._upload(self.host.epoch(plan, start_batch))

    def _upload(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        stream = torch.cuda.Stream(self.device)
        copying: deque = deque()  # (event, host batch): a buffer is not filled again while it is read
        sent: deque = deque()  # (event, device batch), at most one ahead
        try:
            for batch in batches:
                with torch.cuda.stream(stream):
                    moved = _moved(batch, self.device)
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
            stream.record_event().synchronize()

    def _received(self, event: torch.cuda.Event, batch: Batch) -> Batch:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        for tensor in (*batch[:-1], *(batch.mix or ())):
            if tensor is not None:
                tensor.record_stream(current)
        return batch


def _moved(batch: Batch, device: torch.device) -> Batch:
    mix = None if batch.mix is None else Mix(*(sent(x, device) for x in batch.mix))
    return Batch(*(sent(x, device) for x in batch[:-1]), mix)


def sent(host: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    """Copy a tensor to the device on the current stream, without waiting; for a CPU return the tensor itself.

    What is not page-locked goes through page-locked memory, which torch keeps until the copy is made.
    """
    if host is None or device.type == "cpu":
        return host
    return host.pin_memory().to(device, non_blocking=True)
