"""For the site: in a docstring `heights, widths: int64 [N]` is of two names, where Griffe sees a name and a type."""

import re
from typing import Any

import griffe

JOINED = re.compile(r"^( +\w+(?:, \w+)+):", re.MULTILINE)


class JoinedNames(griffe.Extension):
    """Joins such names by spaces at which Griffe does not split them, and says that they have no type of their own."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = JOINED.sub(joined, obj.docstring.value)


def joined(names: re.Match[str]) -> str:
    """The names as one, followed by an empty type."""
    return names[1].replace(", ", ",\N{NO-BREAK SPACE}") + " ():"
