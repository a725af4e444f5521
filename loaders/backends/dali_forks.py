"""Keep a forked process from the DALI pipelines of the one that it was forked off.

A fork copies neither DALI's threads nor the state of its locks. A child that ran such a pipeline would wait for ever,
and so would one that took it apart: when it drops the loader, when the garbage collector does, or when it ends, where
DALI shuts down every pipeline it knows. So a child lets go of them without taking them apart, and builds none.
Knows pipelines by their attribute `_pipe`, DALI's running part, and does not import DALI.
"""

import ctypes
import os
import weakref

_pipelines = weakref.WeakSet()  # of this process
_builders = []  # this process once it has made a pipeline; in a child, the one that had


def adopt(pipeline):
    """Remember a new `nvidia.dali.Pipeline` before it starts its threads; returns it."""
    _pipelines.add(pipeline)
    _builders[:] = [os.getpid()]
    return pipeline


def check_process() -> None:
    """
    Raises:
        RuntimeError: this process was forked off one that had decoded with DALI.
    """
    if _builders and _builders[0] != os.getpid():
        raise RuntimeError(
            "DALI does not survive a fork, and the process that this one was forked off had decoded with it: start "
            "this process by multiprocessing's 'spawn', fork before the first epoch, or use backend='ffcv'"
        )


def _let_go() -> None:
    for pipeline in list(_pipelines):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(pipeline._pipe))  # never destroyed, not even at the end
        pipeline._pipe = None
    _pipelines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
