"""Run an iterator ahead of its consumer on one thread.

Every backend hands its batches through here. An exception travels to the consumer; leaving the loop, dropping the
iterator or ending the program stops the thread and closes the source. Knows no batch and no backend.
"""

import atexit
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

_END = object()


class _Channel:
    """A short queue between one thread that fills it and one consumer; either side can end it."""

    def __init__(self, depth: int):
        self.depth, self.items, self.stopped = depth, deque(), False
        self.changed = threading.Condition()

    def put(self, item: Any) -> bool:
        """Append, then wait until another item is wanted; False when the consumer has gone."""
        with self.changed:
            if not self.stopped:
                self.items.append(item)
                self.changed.notify_all()
            self.changed.wait_for(lambda: self.stopped or len(self.items) < self.depth)
            return not self.stopped

    def get(self) -> Any:
        with self.changed:
            self.changed.wait_for(lambda: self.items)
            item = self.items.popleft()
            self.changed.notify_all()
            return item

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.items.clear()
            self.changed.notify_all()


def prefetch(source: Callable[[], Iterator], depth: int) -> Iterator:
    """Yield what `source()` yields, made on a thread of its own; at most `depth` items are ready or in the making.

    The thread starts with the first `next`. The source's `finally` blocks run on the thread, also on an early exit.

    Raises:
        RuntimeError: `next` in a process that was forked off after the start.
    """
    owner, channel = os.getpid(), _Channel(depth)
    thread = threading.Thread(target=_fill, args=(source, channel), name="rebar-prefetch", daemon=True)
    stop = functools.partial(_stop, channel, thread, owner)
    atexit.register(stop)  # a loop that is still open does not disturb the end of the program
    thread.start()
    try:
        while True:
            if os.getpid() != owner:
                raise RuntimeError("this epoch was started in another process; after a fork, start a new one")
            kind, item = channel.get()
            if kind is _END:
                if item is None:
                    return
                try:
                    raise item
                finally:
                    del item  # the exception holds this frame
            yield item
            del item  # its buffer is free before the next item is waited for
    finally:
        atexit.unregister(stop)
        stop()


def _stop(channel: _Channel, thread: threading.Thread, owner: int) -> None:
    if os.getpid() == owner:
        channel.stop()
        if thread is not threading.current_thread():
            thread.join()


def _fill(source: Callable[[], Iterator], channel: _Channel) -> None:
    error, iterator = None, iter(())
    try:
        iterator = source()
        for item in iterator:
            wanted = channel.put((None, item))
            del item
            if not wanted:
                break
    except BaseException as caught:  # noqa: BLE001 (the consumer raises it)
        error = caught
    finally:
        if hasattr(iterator, "close"):
            iterator.close()
        channel.put((_END, error))
