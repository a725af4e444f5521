"""Runs a function of `convert` as a command: options from its signature, one clear sentence when it fails.

Exit status: 0 done (or already there), 1 failed with a sentence on stderr, 2 wrong options, 3 no place has the data
(no copy, no network), 130 stopped by Ctrl-C.
"""

import argparse
import inspect
import io
import re
import sys
from collections.abc import Callable

from loaders.formats.sentence import words_of

NOWHERE = 3


def run_command(function: Callable[..., None], *, as_positional: bool = False) -> None:
    """Call `function` with the arguments of the command line; on failure exit with the status that says why.

    Args:
        function: its parameters become options, and its docstring their help.
        as_positional: whether parameters without a default are given without their name.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold letters that the terminal has not
    description = (inspect.getdoc(function) or "").partition("\nArgs:")[0]
    parser = ArgumentParser(description=description, formatter_class=_HelpFormatter, exit_on_error=False)
    parser.add_function_arguments(function, as_positional=as_positional, as_group=False)
    try:
        arguments = parser.parse_args(_with_values(function, [_underscored(word) for word in sys.argv[1:]]))
    except ArgumentError as error:
        sys.exit(_say(f"{_plain(str(error))} (--help lists the options)", 2))
    try:
        function(**arguments.as_dict())
    except KeyboardInterrupt:
        sys.exit(
            _say("stopped; existing data and complete downloads were kept, partial files were removed: call again", 130)
        )
    except ConnectionError as error:
        sys.exit(_say(error, NOWHERE))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(_say(words_of(error), 1))


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but no "default: None"."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        """The values that follow an option: none after a flag."""
        return "" if action.metavar == "{true,false}" else super()._format_args(action, default_metavar)


def _underscored(word: str) -> str:
    """Return `--num-train=5` as `--num_train=5`: both spellings of an option are understood."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else word


def _with_values(function: Callable[..., None], words: list[str]) -> list[str]:
    """Return `--flag` as `--flag=true`, and `--range 0 1` as `--range=[0,1]`, by the types of the parameters."""
    kinds = {f"--{name}": str(kind) for name, kind in inspect.get_annotations(function).items()}
    result, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        kind = kinds.get(word, "")
        if kind == str(bool):
            word += "=true"
        elif kind.startswith("tuple["):
            num = kind.partition("]")[0].count(",") + 1
            values, rest = rest[:num], rest[num:]
            if len(values) < num or not all(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value) for value in values):
                sys.exit(_say(f"{word} takes {num} numbers, such as {word} 0 1 (--help lists the options)", 2))
            word += f"=[{','.join(values)}]"
        result.append(word)
    return result


def _plain(message: str) -> str:
    """Return the parser's message about a wrong value as one sentence, any other message as it is."""
    wrong = re.fullmatch(r'Parser key "(\w+)":(.*?)G(?:ot|iven) value(?: type)?: .*', message, re.DOTALL)
    if wrong is None:
        return message
    name, expected = wrong.groups()
    value = re.findall(r"G(?:ot|iven) value: (.*)", message)[-1]
    choices = re.search(r"Literal\[(.*?)\]", expected)  # else the types are listed, as <class 'int'>
    allowed = re.findall(r"[\w-]+", choices[1]) if choices else re.findall(r"<class '([\w.]+)'>", expected)
    allowed = [word for word in dict.fromkeys(allowed) if word != "NoneType"]
    return f"--{name.replace('_', '-')} is {value}, allowed: {', '.join(allowed)}"


def _say(message: object, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status
