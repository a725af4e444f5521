"""For the site: in a docstring `heights, widths: int64 [N]` is of two names, where Griffe sees a name and a type."""

import re
from typing import Any

import griffe

JOINED = re.compile(r"^ +\w+(?:, \w+)+:", re.MULTILINE)


class JoinedNames(griffe.Extension):
    """Joins such names by spaces at which Griffe does not split them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            joined = JOINED.sub(lambda names: names[0].replace(", ", ",\N{NO-BREAK SPACE}"), obj.docstring.value)
            obj.docstring.value = joined
