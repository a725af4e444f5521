"""Feed damaged files to every parser, in a process of its own, and report whatever is neither data nor one sentence.

An input passes where the parser gives data, or a ValueError or OSError of one line that names a file of the input.
"""

import gc
import multiprocessing
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.parsers import Parser, make_parsers

FREE_MEMORY = 64 << 20
"""Bytes that reading an input may take beyond twice the bytes of its files."""
MAX_CHARS = 4100
"""Of a sentence."""


@dataclass(frozen=True)
class Finding:
    """An input that did not pass: `number` of a parser's inputs, and in a word and in full what happened."""

    parser: str
    number: int
    kind: str  # "escape", "sentence", "memory", "hang", "crash"
    what: str


@dataclass
class Tally:
    """What was tried, and what was found."""

    inputs: int = 0
    read: int = 0
    findings: list[Finding] = field(default_factory=list)


def fuzz(
    inputs: int,
    first: int = 1,
    only: str = "",
    seconds: float = 60.0,
    told: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Try inputs, the parsers in turn.

    Args:
        inputs: how many, over all parsers.
        first: number of each parser's first input.
        only: a part of the parsers' names; "" is all parsers.
        seconds: after which an input counts as a hang.
        told: called after each input.
    """
    tally, after = Tally(), 0
    while after < inputs:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs, inputs, first, only, after))
        worker.start()
        theirs.close()
        try:
            for finding, parser, number, is_read in _results(ours, seconds):
                after += 1
                tally.inputs, tally.read = after, tally.read + is_read
                if finding is not None:
                    tally.findings.append(Finding(parser, number, *finding))
                told(tally)
        except _Lost as lost:
            worker.kill()
            worker.join()
            after += 1
            tally.inputs = after
            tally.findings.append(Finding(lost.parser, lost.number, lost.kind, f"exit status {worker.exitcode}"))
            told(tally)
            if lost.number == 0:
                raise RuntimeError(f"a whole file cannot be read: {tally.findings[-1]}") from None
        finally:
            worker.kill()
            worker.join()
    return tally


class _Lost(Exception):
    """The worker has hung or died on an input."""

    def __init__(self, kind: str, parser: str, number: int):
        super().__init__(kind)
        self.kind, self.parser, self.number = kind, parser, number


_Result = tuple[tuple[str, str] | None, str, int, bool]


def _results(pipe: Connection, seconds: float) -> Iterator[_Result]:
    """What the worker sends: the name of each input before it, and the result after it."""
    parser, number, limit = "the start", 0, 600.0  # in which it imports and compiles everything
    while True:
        try:
            if not pipe.poll(limit):
                raise _Lost("hang", parser, number)
            message = pipe.recv()
        except EOFError:
            raise _Lost("crash", parser, number) from None
        if message is None:
            return
        if isinstance(message[0], str):
            parser, number = message
            limit = seconds
        else:
            result, is_read = message
            yield result, parser, number, is_read


def _work(pipe: Connection, inputs: int, first: int, only: str, after: int) -> None:
    """In the worker: read the inputs number `after` and later."""
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="rebar-fuzz-"))
    try:
        beside = folder / "beside"
        beside.mkdir()
        parsers = [parser for parser in make_parsers(beside) if only in parser.name]
        for parser in parsers:
            _, error = _outcome(parser, 0, folder / "input")
            if error is not None:
                raise RuntimeError(f"{parser.name}: the whole file is not read: {error!r}") from error
        for k in range(after, inputs):
            parser, number = parsers[k % len(parsers)], first + k // len(parsers)
            pipe.send((parser.name, number))
            finding, error = _outcome(parser, number, folder / "input")
            pipe.send((finding, error is None))
        pipe.send(None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(parser: Parser, number: int, folder: Path) -> tuple[tuple[str, str] | None, Exception | None]:
    """What is wrong with how the parser takes an input, and what it raised."""
    folder.mkdir()
    written = parser.input(number)
    for name, content in written.items():
        (folder / name).write_bytes(content)
    gc.collect(0)
    before, error = _reset_peak(), None
    try:
        parser.read(folder)
    except Exception as raised:  # noqa: BLE001 (that is what is looked for)
        error = raised
    taken, size = _memory("VmHWM") - before, sum(map(len, written.values()))
    shutil.rmtree(folder)
    finding = None if error is None else _complaint(error, [*written, folder.name])
    if finding is None and taken > 2 * size + FREE_MEMORY:
        finding = "memory", f"{taken:,} bytes for {size:,} ({time.strftime('%H:%M:%S')})"
    return finding, error


def _complaint(error: Exception, names: list[str]) -> tuple[str, str] | None:
    text = str(error)
    if not isinstance(error, ValueError | OSError):
        return "escape", f"{type(error).__name__}: {text[:300]}"
    if "\n" in text or len(text) > MAX_CHARS or not any(name in text for name in names):
        return "sentence", f"{type(error).__name__}: {text[:300]}"
    return None


def _reset_peak() -> int:
    """Forget the peak of this process's memory, and return what it takes now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"/proc/self/status has no {name}; process {os.getpid()}")
