"""SIGTERM and Ctrl-C as a request to stop after the running step."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The run was asked to stop; `signal` is the signal's number."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.signal = number


class StopRequest:
    """Whether a signal has arrived; `check` raises `Stopped` then."""

    signal: int | None = None

    def check(self) -> None:
        """Raise `Stopped` if a signal has arrived."""
        if self.signal is not None:
            raise Stopped(self.signal)

    def guard(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, with a check before each."""
        for item in items:
            self.check()
            yield item


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Collect SIGTERM and SIGINT while the block runs; a second one of either ends the process at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may set handlers
        return

    def handle(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for sig, old in previous.items():
            signal.signal(sig, old)

    previous = {sig: signal.getsignal(sig) for sig in (signal.SIGTERM, signal.SIGINT)}
    for sig in previous:
        signal.signal(sig, handle)
    try:
        yield request
    finally:
        for sig, old in previous.items():
            signal.signal(sig, old)
