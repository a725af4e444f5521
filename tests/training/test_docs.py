"""docs/how-to/add_a_method.md is followed to the letter, and docs/methods.md lists the options that methods have."""

import contextlib
import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from training.methods import METHODS
from training.run import main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def power(tmp_path, monkeypatch):
    """The page's module, with the page's line in METHODS."""
    text = (DOCS / "how-to" / "add_a_method.md").read_text(encoding="utf-8")
    file = tmp_path / "power.py"
    file.write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location("power", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "power", module)
    spec.loader.exec_module(module)
    name, class_name = re.search(r'^ {4}"([\w-]+)": (\w+),$', text, re.MULTILINE).groups()
    monkeypatch.setitem(METHODS, name, getattr(module, class_name))
    return module


def test_the_documented_method_trains(power, quick_args, tmp_path):
    out = tmp_path / "run"
    assert main(quick_args(out=out, method="power", exponent=1, design="systematic", epochs=2)) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["options"] == {"design": "systematic", "exponent": 1}
    assert summary["samples"] == 600


def test_its_options_are_its_own(power, quick_args, tmp_path, capfd):
    assert main(quick_args(out=tmp_path / "a", method="scan", exponent=1)) == 2
    assert "exponent is an option of power" in capfd.readouterr().err
    assert main(quick_args(out=tmp_path / "b", method="power", exponent=-1)) == 2
    assert "exponent must not be negative, got -1" in capfd.readouterr().err


def test_its_help_shows_its_options(power, capfd):
    with contextlib.suppress(SystemExit):
        main(["--method", "power", "--help"])
    assert "power of the latest loss; 0 draws uniformly" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize("name", METHODS)
def test_the_table_of_methods_lists_the_options(name):
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    chapters = re.findall(r"^## Methods that choose.*?(?=^## )", text, re.DOTALL | re.MULTILINE)
    (row,) = [line for chapter in chapters for line in chapter.splitlines() if line.startswith(f"| `{name}` |")]
    options = {field.name for field in dataclasses.fields(METHODS[name].Options)}
    assert set(re.findall(r"`(\w+)`", row.split("|")[-3])) == options
