"""The commands that docs/benchmarks.md names exist and start. Nothing is measured."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(set(re.findall(r"python -m (benchmarks\.[\w.]+)", (ROOT / "docs/benchmarks.md").read_text("utf-8"))))


def test_the_page_names_them():
    assert {"benchmarks.scheduler", "benchmarks.writer", "benchmarks.larger_than_memory"} <= {*COMMANDS}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("benchmarks.tables", "benchmarks.gpu")])
def test_a_benchmark_has_help_and_the_options_of_the_page(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(name).main()
    assert caught.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["paper", "training"])
def test_the_settings_of_a_part_exist(name):
    assert importlib.import_module(f"benchmarks.gpu.{name}").CONFIG.is_file()
