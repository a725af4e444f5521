"""The package `loaders`, under a name that no `loaders.py` of a project can hide.

    from rebar_loaders import IndexScheduler, make_loader

`import loaders` is this package too, where that name is Rebar's: the same modules, imported once.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rebar_loaders.names import load_package

if TYPE_CHECKING:
    from loaders import *  # noqa: F403

_HERE = Path(__file__).resolve().parent
load_package(__name__, [_HERE.with_name("loaders"), _HERE])  # takes this module's place
