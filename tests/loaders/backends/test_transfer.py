"""What `OnDevice` asks of CUDA, which is counted here and not there: its stream, and how far the host runs ahead."""

import contextlib

import numpy as np
import pytest
import torch

from loaders.backends.gpu.transfer import UNREAD, OnDevice
from loaders.types import Batch, EpochPlan

COPIES, WORK = "copies", "work"


class Host:
    """Batches whose images are their number."""

    def epoch(self, plan, start_batch=0):
        for number in plan.ids[start_batch:].tolist():
            one = torch.tensor([number])
            yield Batch(one.clone(), one.clone(), one.clone(), None, None)


@pytest.fixture
def calls(monkeypatch):
    """What is done in turn: streams that are made, and the streams whose events are waited for by the host."""
    said = []

    class Event:
        def __init__(self, stream=None):
            self.stream = stream

        def record(self, stream):
            self.stream = stream

        def synchronize(self):
            said.append(("waits for", self.stream.name))

    class Stream:
        def __init__(self, name):
            self.name = name

        def record_event(self):
            return Event(self)

        def wait_event(self, event):
            pass

    current = Stream(WORK)

    def new_stream(device):
        said.append(("stream", COPIES))
        return Stream(COPIES)

    monkeypatch.setattr(torch.cuda, "Stream", new_stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return said


def test_all_epochs_copy_on_one_stream(calls):
    """torch keeps what was freed for the stream it was allocated on: each further stream takes as much memory again."""
    feed = OnDevice(Host(), torch.device("cpu"))
    for _ in range(3):
        assert [batch.images.item() for batch in feed.epoch(EpochPlan(np.arange(4)))] == [0, 1, 2, 3]
    assert calls.count(("stream", COPIES)) == 1


def test_the_host_does_not_run_ahead_of_the_consumers_work_without_end(calls):
    batches = OnDevice(Host(), torch.device("cpu")).epoch(EpochPlan(np.arange(UNREAD + 5)))
    for number in range(UNREAD + 4):
        next(batches)
        assert calls.count(("waits for", WORK)) == max(0, number - UNREAD), number
