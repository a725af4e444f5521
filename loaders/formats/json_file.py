"""Read a small JSON file whose content is not trusted: each value has the type that is asked for, or it is refused."""

import json
import math
import os
import reprlib
from typing import Any, TypeVar, cast

from .claims import read_limited
from .sentence import one_line

MAX_BYTES = 1 << 20
T = TypeVar("T")

_WORDS: dict[type[Any], str] = {
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    str: "a text",
    dict: "an object",
}


def read_json(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> Any:
    """The value that a JSON file holds.

    Raises:
        ValueError: the file is larger, or is not JSON.
        OSError: it cannot be read.
    """
    return parse_json(read_limited(path, max_bytes), os.fspath(path))


def parse_json(content: bytes | str, name: str) -> Any:
    """The value that a text in JSON means; `name` says where it came from.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{name} is not valid JSON (it is nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON ({one_line(error)})") from None


def entry(values: Any, key: str, kind: type[T], name: str) -> T:
    """The value of a key, of the type that is asked for.

    Args:
        values: what should be an object that has the key.
        kind: bool, int, float (finite; an integer will do), str, dict or list.
        name: where the values came from.

    Raises:
        ValueError: names the key.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{name} holds {_quoted(values)} where an object with the key {key!r} is needed")
    if key not in values:
        raise ValueError(f"{name} lacks the key {key!r}")
    return typed(values[key], kind, f"{name}: {key}")


def entries(values: Any, key: str, kind: type[T], name: str) -> tuple[T, ...]:
    """The values of a list, each of the type that is asked for; else as `entry`."""
    found = entry(values, key, list, name)
    return tuple(typed(value, kind, f"{name}: {key}[{i}]") for i, value in enumerate(found))


def typed(value: Any, kind: type[T], what: str) -> T:
    """The value, where it has the type that is asked for; else as `entry`."""
    given: Any = float(value) if kind is float and isinstance(value, int) and abs(value) < 1 << 1000 else value
    is_whole = isinstance(given, kind) and (kind is bool or not isinstance(value, bool))
    if is_whole and not (isinstance(given, float) and not math.isfinite(given)):
        return cast(T, given)
    raise ValueError(f"{what} is {_quoted(value)}, needed: {_WORDS.get(kind, 'a list')}")


def _quoted(value: Any) -> str:
    return one_line(reprlib.repr(value), 80)
