"""Copy host batches to a CUDA device on a side stream, one batch ahead of the consumer.

It wraps any backend whose `epoch` yields host batches; page-locked ones are copied without the host waiting.
"""

import functools
from collections import deque
from collections.abc import Generator

import torch
from torch import Tensor

from ...types import Backend, Batch, EpochPlan, Mix

IN_FLIGHT = 2  # host batches that a copy may still be reading
UNREAD = 8  # device batches whose consumer may still have work to do when the next one is asked for


class OnDevice:
    """A backend over a backend: the same batches, on `device`.

    The copies come before the consumer's work on its current stream. The host runs ahead of the consumer's work, but by
    at most `UNREAD` batches: their memory is in use until that work is done.
    """

    def __init__(self, host: Backend, device: torch.device):
        self.host, self.device = host, device

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream:
        """One for all epochs: torch keeps freed memory for the stream that it was allocated on."""
        return torch.cuda.Stream(self.device)

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """Deliver a plan as the host's backend does, on the device."""
        return self._upload(self.host.epoch(plan, start_batch))

    def _upload(self, batches: Generator[Batch]) -> Generator[Batch]:
        stream = self._stream
        copying: deque[tuple[torch.cuda.Event, Batch]] = deque()  # host batches: a buffer is kept while it is read
        arriving: deque[tuple[torch.cuda.Event, Batch]] = deque()  # device batches, at most one ahead
        read: deque[torch.cuda.Event] = deque()  # behind the consumer's work on each batch
        try:
            for batch in batches:
                with torch.cuda.stream(stream):
                    moved = _moved(batch, self.device)
                    event = torch.cuda.Event()
                    event.record(stream)
                copying.append((event, batch))
                arriving.append((event, moved))
                del batch, moved
                while len(copying) > IN_FLIGHT:
                    copying.popleft()[0].synchronize()
                if len(arriving) > 1:
                    yield self._received(*arriving.popleft())
                    read.append(torch.cuda.Event())
                    read[-1].record(torch.cuda.current_stream(self.device))
                    if len(read) > UNREAD:
                        read.popleft().synchronize()
            while arriving:
                yield self._received(*arriving.popleft())
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
    images, labels, ids, weights, mix = batch
    if mix is not None:
        mix = Mix(sent_if_any(mix.partners, device), sent(mix.shares, device))
    return Batch(sent(images, device), sent(labels, device), sent(ids, device), sent_if_any(weights, device), mix)


def sent(host: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device on the current stream, without waiting; for a CPU return the tensor itself.

    What is not page-locked goes through page-locked memory, which torch keeps until the copy is made.
    """
    if device.type == "cpu":
        return host
    return host.pin_memory().to(device, non_blocking=True)


def sent_if_any(host: Tensor | None, device: torch.device) -> Tensor | None:
    """Copy a tensor as `sent` does; None stays None."""
    return None if host is None else sent(host, device)
