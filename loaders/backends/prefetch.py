"""Run a generator ahead of its consumer on one thread.

An exception travels to the consumer; leaving the loop, dropping the
iterator or ending the program stops the thread and closes the source.
"""

import atexit
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _End(NamedTuple):
    """Follows the last item."""

    error: BaseException | None = None  # what the source raised


class _Channel(Generic[T]):
    """Two queues between the thread and its consumer: finished items one way, leave to make one more the other way.

    They are the C queues, which cost a microsecond; a `threading.Condition` costs more than a small batch.
    """

    def __init__(self, depth: int):
        self.items: SimpleQueue[T | _End] = SimpleQueue()
        self.leave: SimpleQueue[None] = SimpleQueue()
        self.stopped = False
        for _ in range(depth):
            self.leave.put(None)

    def wanted(self) -> bool:
        """Wait until one more item is wanted; False when the consumer has gone."""
        self.leave.get()
        return not self.stopped

    def stop(self) -> None:
        self.stopped = True
        self.leave.put(None)


def prefetch(source: Callable[[], Generator[T]], depth: int) -> Generator[T]:
    """Yield what `source()` yields, made on a thread of its own; at most `depth` items are ready or in the making.

    The thread starts with the first `next`. The source's `finally` blocks run on the thread, also on an early exit.

    Raises:
        RuntimeError: `next` in a process that was forked off after this call.
    """
    return _run(source, depth, os.getpid())


def _run(source: Callable[[], Generator[T]], depth: int, owner: int) -> Generator[T]:
    _check_process(owner)
    channel = _Channel[T](depth)
    thread = threading.Thread(target=_fill, args=(source, channel), name="rebar-prefetch", daemon=True)
    stop = functools.partial(_stop, channel, thread, owner)
    atexit.register(stop)  # a loop that is still open does not disturb the end of the program
    thread.start()
    try:
        while True:
            _check_process(owner)
            item = channel.items.get()
            if isinstance(item, _End):
                if item.error is None:
                    return
                try:
                    raise item.error
                finally:
                    del item  # the exception holds this frame
            channel.leave.put(None)
            yield item
            del item  # its buffer is free before the next item is waited for
    finally:
        atexit.unregister(stop)
        stop()


def _check_process(owner: int) -> None:
    if os.getpid() != owner:
        raise RuntimeError("this epoch was started in another process; after a fork, start a new one")


def _stop(channel: _Channel[T], thread: threading.Thread, owner: int) -> None:
    if os.getpid() == owner:
        channel.stop()
        if thread is not threading.current_thread():
            thread.join()


def _fill(source: Callable[[], Generator[T]], channel: _Channel[T]) -> None:
    end = _End()
    try:
        with contextlib.closing(source()) as made:
            while channel.wanted():
                item = next(made, end)
                if isinstance(item, _End):
                    break
                channel.items.put(item)
                del item
    except BaseException as error:  # noqa: BLE001 (the consumer raises it)
        end = _End(error)
    finally:
        channel.items.put(end)
