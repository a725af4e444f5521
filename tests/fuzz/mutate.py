"""Damage to files and values: input number i of a seed is always the same."""

import re
from typing import Any

import numpy as np
import torch

Region = tuple[int, int]

_NUMBERS = (0, 1, 2, 7, 0x80, 0x8000, 1 << 31, 1 << 63, *(2**bits - 1 for bits in (7, 8, 15, 16, 31, 32, 63, 64)))
_WORDS = (
    b"null", b"true", b"-1", b"0", b"5", b"1.5", b"1e999", b"-1e-999", b"NaN", b"9" * 30, b"9" * 5000, b"0x7f",
    b"[]", b"{}", b'""', b"[" * 3000, b"{a: " * 3000, b"(" * 300, b'"\\ud800"', b"\xff\xfe", b"\0", b"x" * 5000, b"\n",
    b"\r\n", b" ", b"../x", b"/etc/passwd", b"*a", b"&a [*a]", b"!!python/object:os.system", b"2026-11-30", b"~", b"%",
    b": ",
)  # fmt: skip
_TOKEN = re.compile(rb'"[^"\n]*"|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\w+|[\[\]{}:,()]')
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, float("nan"), 10**30, "", "x" * 3000, [], {}, (1, 2), [None], {"a": 1}, {1: 2}, b"bytes",
    torch.zeros(0), torch.zeros(3, 5), torch.zeros(1, dtype=torch.int32), torch.full((2,), float("nan")),
    torch.zeros(1).expand(1 << 40), torch.empty(4, device="meta"), torch.zeros(2, 2).to_sparse(), np.float64(2),
)  # fmt: skip


def damaged(content: bytes, rng: np.random.Generator, regions: list[Region] | None = None) -> bytes:
    """A copy with one to four mistakes: bytes, integers or words changed, parts cut out or doubled, the end lost.

    Args:
        regions: where something stands; None is everywhere.
    """
    changed = bytearray(content)
    kinds = [_bytes, _bytes, _integer, _integer, _cut, _part, *([_word] * 6 if _is_text(content) else [])]
    for _ in range(rng.integers(1, 5)):
        first, last = (0, len(changed)) if regions is None else regions[rng.integers(len(regions))]
        last = min(last, len(changed))
        if first < last:
            kinds[rng.integers(len(kinds))](changed, first, last, rng)
    return bytes(changed)


def damaged_values(value: Any, rng: np.random.Generator) -> Any:
    """A copy of nested dictionaries and lists, one value of it left out or replaced by one of another kind."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        copy = dict(value)
        key = list(copy)[rng.integers(len(copy))]
        if rng.random() < 0.1:
            del copy[key]
        elif rng.random() < 0.05:
            copy[_drawn(_VALUES[:8], rng)] = copy.pop(key)
        else:
            copy[key] = damaged_values(copy[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = int(rng.integers(len(value)))
        return [*value[:at], *([] if rng.random() < 0.1 else [damaged_values(value[at], rng)]), *value[at + 1 :]]
    return _drawn(_VALUES, rng)


def _drawn(values: Any, rng: np.random.Generator) -> Any:
    return values[rng.integers(len(values))]


def _is_text(content: bytes) -> bool:
    return content.isascii() and b"\0" not in content


def _bytes(changed: bytearray, first: int, last: int, rng: np.random.Generator) -> None:
    for place in rng.integers(first, last, rng.integers(1, 6)):
        changed[place] = _drawn((0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)), rng)


def _integer(changed: bytearray, first: int, last: int, rng: np.random.Generator) -> None:
    size, place = _drawn((2, 4, 8), rng), int(rng.integers(first, last))
    value = _drawn(_NUMBERS, rng) % (1 << 8 * size)
    changed[place : place + size] = value.to_bytes(size, _drawn(("little", "big"), rng))


def _cut(changed: bytearray, first: int, last: int, rng: np.random.Generator) -> None:
    del changed[rng.integers(first, last) :]


def _part(changed: bytearray, first: int, last: int, rng: np.random.Generator) -> None:
    start, to = (int(place) for place in rng.integers(first, last, 2))
    part = changed[start : start + int(_drawn((1, 4, 16, 512, 5000), rng))]
    if rng.random() < 0.5:
        del changed[start : start + len(part)]
    changed[to:to] = part if rng.random() < 0.8 else bytes(len(part))


def _word(changed: bytearray, first: int, last: int, rng: np.random.Generator) -> None:
    tokens = list(_TOKEN.finditer(bytes(changed), first, last))
    if tokens:
        token = _drawn(tokens, rng)
        changed[token.start() : token.end()] = _drawn((*_WORDS, _drawn(tokens, rng)[0]), rng)
