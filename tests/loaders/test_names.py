"""The names of the package, and of its files."""

import ast
from pathlib import Path

import pytest

import loaders


def test_a_type_checker_sees_the_names_that_are_imported_lazily():
    tree = ast.parse(Path(loaders.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: line.module for line in block.body for alias in line.names}
    assert typed == {name: f"loaders.{home}" for name, home in loaders._HOME.items()}


def test_every_name_is_there_and_no_other():
    assert all(getattr(loaders, name).__name__ == name for name in loaders.__all__)
    with pytest.raises(AttributeError, match="'loaders' has no attribute 'Loader': its names are open_dataset,"):
        _ = loaders.Loader


def test_the_readme_names_every_file():
    folder = Path(loaders.__file__).parent
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.stat().st_size}
    listed = [line.split("`")[1] for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(files)
