"""The names of the package, and of its files."""

import ast
import importlib
import pickle
from pathlib import Path

import pytest

import loaders
import rebar_loaders


def test_a_type_checker_sees_the_names_that_are_imported_lazily():
    tree = ast.parse(Path(loaders.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: line.module for line in block.body for alias in line.names}
    assert typed == loaders._HOME


def test_the_package_names_no_module_of_its_own_absolutely():
    files = [*Path(loaders.__file__).parent.rglob("*.py")]
    lines = [(file, line) for file in files for line in ast.walk(ast.parse(file.read_text()))]
    named = [(file.name, line.module) for file, line in lines if isinstance(line, ast.ImportFrom) and not line.level]
    assert [(file, module) for file, module in named if module.split(".")[0] == "loaders"] == []


def test_both_names_of_the_package_are_the_same_modules():
    assert rebar_loaders is loaders
    assert importlib.import_module("loaders.order.rng") is importlib.import_module("rebar_loaders.order.rng")
    assert loaders.order.rng.__spec__.name == "rebar_loaders.order.rng"
    assert pickle.loads(b"cloaders.types\nEpochPlan\n.") is rebar_loaders.EpochPlan  # as 0.1 has pickled it
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'loaders\.nothing'"):
        importlib.import_module("loaders.nothing")


def test_every_name_is_there_and_no_other():
    assert all(getattr(loaders, name).__name__ == name for name in loaders.__all__)
    with pytest.raises(AttributeError, match="'loaders' has no attribute 'Loader': its names are open_dataset,"):
        _ = loaders.Loader


def test_the_readme_names_every_file():
    folder = Path(loaders.__file__).parent
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.stat().st_size}
    listed = [line.split("`")[1] for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(files)
