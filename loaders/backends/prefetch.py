"""Run generators ahead of their consumer, each on a thread of its own.

An exception is raised at the consumer. Leaving the loop, dropping the iterator or ending the program stops the threads
and closes the sources.

Whoever leaves an epoch does not wait for its threads: it may be the garbage collector, which runs on any thread and
inside any lock, also one that such a thread waits for. The threads are told to end; the next epoch waits for them, or
the end of the program does.
"""

import atexit
import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _End(NamedTuple):
    """Follows the last item."""

    error: BaseException | None = None  # what the source raised


class _Channel(Generic[T]):
    """Two queues between the thread and its consumer: finished items one way, leave to make one more the other way.

    They are the C queues, which cost a microsecond; a `threading.Condition` costs more than a small batch. Their `put`
    takes no lock, so that a finaliser may call `stop`.
    """

    def __init__(self, source: Callable[[], Generator[T]], depth: int, group: object):
        self.source = source  # until the thread ends
        self.group, self.owner = group, os.getpid()
        self.thread = threading.Thread(target=_fill, args=(self,), name="rebar-prefetch", daemon=True)
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
        """Tell the thread to end, without waiting for it."""
        if os.getpid() == self.owner:
            self.stopped = True
            self.leave.put(None)


_running: set[_Channel[Any]] = set()  # whose threads have not ended


def prefetch(source: Callable[[], Generator[T]], depth: int, group: object) -> Generator[T]:
    """Yield what `source()` yields, made on a thread of its own; at most `depth` items are ready or in the making.

    The thread starts with the first `next`. The source's `finally` blocks run on the thread; after an early exit they
    may still run when this generator is closed.

    Args:
        source: makes the generator to run.
        depth: number of items.
        group: epochs with one owner. The thread starts when those of the group that were left early have ended, so what
            their sources give back is there.

    Raises:
        RuntimeError: `next` in a process that was forked off after this call.
    """
    return _run([source], depth, group, os.getpid())


def prefetch_in_turn(sources: list[Callable[[], Generator[T]]], depth: int, group: object) -> Generator[T]:
    """Yield one item of each source in turn, until the first of them ends; else as `prefetch`, for each source.

    All threads start with the first `next`, so the first items are made at the same time too.
    """
    return _run([*sources], depth, group, os.getpid())


def stop_threads_at_exit() -> None:
    """Stop and join all threads when the program ends, so that a loop that is still open does not disturb the end.

    Python runs such callbacks in reverse order: call this after the import of a library that the threads use and that
    has a callback of its own.
    """
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)


def _stop_all() -> None:
    mine = [channel for channel in list(_running) if channel.owner == os.getpid()]
    for channel in mine:
        channel.stop()
    _join(mine)


def _join(channels: list[_Channel[Any]]) -> None:
    for channel in channels:
        channel.thread.join()


def _run(sources: list[Callable[[], Generator[T]]], depth: int, group: object, owner: int) -> Generator[T]:
    _check_process(owner)
    _join([other for other in list(_running) if other.group is group and other.stopped and other.owner == owner])
    channels = [_Channel(source, depth, group) for source in sources]
    del sources
    try:
        for channel in channels:
            _start(channel)
        for channel in itertools.cycle(channels):
            _check_process(owner)
            item = channel.items.get()
            if isinstance(item, _End):
                channel.thread.join()  # it has nothing left to do
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
        for channel in channels:
            channel.stop()  # no more than that: the garbage collector may be what ends this epoch


def _check_process(owner: int) -> None:
    if os.getpid() != owner:
        raise RuntimeError("this epoch was started in another process; after a fork, start a new one")


def _start(channel: _Channel[Any]) -> None:
    _running.add(channel)
    try:
        channel.thread.start()
    except BaseException:
        _running.discard(channel)
        raise


def _fill(channel: _Channel[T]) -> None:
    end = _End()
    try:
        with contextlib.closing(channel.source()) as made:
            while channel.wanted():
                item = next(made, end)
                if isinstance(item, _End):
                    break
                channel.items.put(item)
                del item
    except BaseException as error:  # noqa: BLE001 (the consumer raises it)
        end = _End(error)
    finally:
        made = None
        del channel.source  # what nobody else holds is freed here, before the end of the program
        channel.items.put(end)
        del end  # the exception holds this frame
        _running.discard(channel)
