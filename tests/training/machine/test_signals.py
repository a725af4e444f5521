"""SIGTERM and Ctrl-C ask to stop; a second one ends the process."""

import os
import signal
import threading

import pytest

from training.machine.signals import Stopped, StopRequest, stop_requests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_requests() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped, match=signal.Signals(number).name) as stopped:
            stop.check()
        assert stopped.value.signal == number
        assert signal.getsignal(number) == before, "the second one is not caught"
    assert signal.getsignal(number) == before


def test_guarded_items_end_with_the_request():
    stop = StopRequest()
    items = stop.guard(range(5))
    assert [next(items), next(items)] == [0, 1]
    stop.signal = signal.SIGTERM
    with pytest.raises(Stopped):
        next(items)


def test_another_thread_than_the_main_one_sets_no_handlers():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_requests() as stop:
            stop.check()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
