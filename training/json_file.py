"""Writes JSON files; `loaders.formats.json_file` reads them."""

import json
from pathlib import Path
from typing import Any

from loaders.formats.atomic import atomic_path


def write_json(path: Path, values: dict[str, Any], indent: int) -> None:
    """Write the values as JSON by atomic rename."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=indent) + "\n", encoding="utf-8")
