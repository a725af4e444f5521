"""Reads the plain values and uint8 arrays out of a pickle without running it: nothing is ever imported or called.

CIFAR's python archives are pickles, and unpickling a file is running a program that came with it. Here the opcodes are
walked as text; dicts, lists, tuples, strings and integers are built by this code, an array is recognised by the few
names that NumPy writes for it and taken from its bytes. Any other name, and any opcode outside this list, is refused.
"""

import pickletools
from typing import Any

import numpy as np

_ARRAY, _TYPE, _NDARRAY = object(), object(), object()
_NAMES = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy dtype": _TYPE,
    "numpy ndarray": _NDARRAY,
}
_MARK = object()
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINBYTES8", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NO_EFFECT = {"PROTO", "FRAME", "STOP"}


class _Array:
    """An array on its way: named first, its bytes come with BUILD."""

    value: np.ndarray | None = None


class _Type:
    """A dtype on its way; only its name matters."""

    def __init__(self, name: Any):
        self.name = name


def read_plain_pickle(content: bytes) -> Any:
    """The value that a pickle of plain data describes: dict, list, tuple, str, bytes, int, bool, None, uint8 array.

    Text of Python 2 comes as str (Latin-1).

    Raises:
        ValueError: the pickle is cut short, or asks for anything but plain data.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, position in pickletools.genops(content):
            _step(opcode.name, argument, position, stack, memo)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the pickle is damaged ({type(error).__name__}: {error})") from None
    if len(stack) != 1:
        raise ValueError(f"the pickle is damaged ({len(stack)} values at its end instead of 1)")
    return _finished(stack[0])


def _step(name: str, argument: Any, position: int, stack: list, memo: dict) -> None:
    if name in _VALUES:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if name == "EMPTY_DICT" else [])
    elif name == "MARK":
        stack.append(_MARK)
    elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
        memo[len(memo) if argument is None else argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[argument])
    elif name in ("TUPLE", "LIST", "DICT"):
        items = _since_mark(stack)
        stack.append(tuple(items) if name == "TUPLE" else items if name == "LIST" else _pairs(items))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name in ("APPENDS", "SETITEMS"):
        items = _since_mark(stack)
        stack[-1].extend(items) if name == "APPENDS" else stack[-1].update(_pairs(items))
    elif name == "APPEND":
        item = stack.pop()
        stack[-1].append(item)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = _finished(value)
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        if name == "STACK_GLOBAL":
            member, module = stack.pop(), stack.pop()
            argument = f"{module} {member}"
        if argument not in _NAMES:
            raise ValueError(f"the pickle asks for {argument!r} at byte {position}: refused, only plain data is read")
        stack.append(_NAMES[argument])
    elif name == "REDUCE":
        arguments, target = stack.pop(), stack.pop()
        if target is _ARRAY:
            stack.append(_Array())
        elif target is _TYPE:
            stack.append(_Type(arguments[0]))
        else:
            raise ValueError(f"the pickle calls something at byte {position}: refused, only plain data is read")
    elif name == "BUILD":
        state = stack.pop()
        if isinstance(stack[-1], _Array):
            stack[-1].value = _array(*state)
        elif not isinstance(stack[-1], _Type):
            raise ValueError(f"the pickle sets a state at byte {position}: refused, only plain data is read")
    elif name not in _NO_EFFECT:
        raise ValueError(f"the pickle uses {name} at byte {position}: refused, only plain data is read")


def _since_mark(stack: list) -> list:
    position = len(stack) - 1
    while stack[position] is not _MARK:
        position -= 1
        if position < 0:
            raise IndexError("no mark")
    items = stack[position + 1 :]
    del stack[position:]
    return items


def _pairs(items: list) -> dict:
    return {key: _finished(value) for key, value in zip(items[::2], items[1::2], strict=True)}


def _finished(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("the pickle is damaged (an array without content)")
        return value.value
    return value


def _array(version: int, shape: tuple, dtype: Any, by_column: bool, content: bytes | str) -> np.ndarray:
    """uint8 array of `shape` from NumPy's pickled state."""
    if not isinstance(dtype, _Type) or dtype.name not in ("u1", "|u1"):
        raise ValueError("the pickle holds an array of another type than uint8")
    raw = content.encode("latin-1") if isinstance(content, str) else content
    array = np.frombuffer(raw, np.uint8)
    if array.size != int(np.prod(shape)):
        raise ValueError(f"the pickle is damaged (an array of shape {shape} with {array.size} bytes)")
    return array.reshape(shape, order="F" if by_column else "C")
