"""Reads files of settings: YAML of a bounded size, of which nothing is built before it is checked."""

from pathlib import Path
from typing import Any

import yaml

from loaders.formats.sentence import one_line

MAX_YAML_BYTES = 1 << 16  # of one file of settings
MAX_YAML_DEPTH = 20
_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings of a file, which has a bounded size and no aliases, with which a few bytes can stand for gigabytes.

    Raises:
        ValueError: the file is missing, too large, or not such YAML.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_YAML_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read the configuration {path}: {error.strerror}") from None
    if len(content) > MAX_YAML_BYTES:
        raise ValueError(f"{path} has more than {MAX_YAML_BYTES:,} bytes, which no file of settings needs")
    try:
        text = content.decode("utf-8")
        has_alias = _has_alias(text)
        values = {} if has_alias else yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not valid YAML: {one_line(error, 500)}") from None
    except RecursionError:
        raise ValueError(f"{path} is not valid YAML: it is nested too deeply") from None
    if has_alias:
        raise ValueError(f"{path} has an alias (*name), which settings may not have: write the value out")
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold `key: value` lines, got a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _has_alias(text: str) -> bool:
    """Whether a YAML text has an alias; nothing is built from it.

    Raises:
        RecursionError: it is nested more deeply than any settings, for which PyYAML would need hours.
        YAMLError: it is not YAML.
    """
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            return True
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_YAML_DEPTH:
            raise RecursionError
    return False
