import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from convert.command import NOWHERE, run_command

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("bad value"), 1, "error: bad value\n"),
        (OSError(28, "no space left while writing x"), 1, "error: no space left while writing x\n"),
        (ImportError("needs FFCV"), 1, "error: needs FFCV\n"),
        (ConnectionError("from nowhere"), NOWHERE, "error: from nowhere\n"),
        (KeyboardInterrupt(), 130, "error: stopped; existing data and complete downloads were kept"),
    ],
)
def test_exit_status(error, status, message, monkeypatch, capsys):
    def command(num_things: int = 3) -> None:
        assert num_things == 5
        raise error

    monkeypatch.setattr(sys, "argv", ["command", "--num-things=5"])
    with pytest.raises(SystemExit) as caught:
        run_command(command)
    assert caught.value.code == status
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--format zip", "error: --format is zip, allowed: beton, dali"),
        ("--num-things=x", "error: --num-things is x, allowed: int"),
        ("--limit=x", "error: --limit is x, allowed: int"),
        ("--channels 2", "error: --channels is 2, allowed: 1, 3"),
        ("--formt beton", "error: unrecognized arguments: --formt beton"),
        ("", "error: the following arguments are required: images"),
    ],
)
def test_wrong_options_are_one_sentence(words, message, monkeypatch, capsys):
    def command(
        images: Path,
        format: Literal["beton", "dali"] = "beton",
        num_things: int = 3,
        limit: int | None = None,
        channels: Literal[1, 3] = 3,
    ) -> None:
        raise AssertionError

    monkeypatch.setattr(sys, "argv", ["command", *(["x"] if words else []), *words.split()])
    with pytest.raises(SystemExit) as caught:
        run_command(command, as_positional=True)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{message} (--help lists the options)\n"


def test_help_is_the_docstring(monkeypatch, capsys):
    def command(images: Path, root: Path | None = None, num_things: int = 3) -> None:
        """Count things.

        Args:
            images: what to count.
            root: where.
            num_things: how many.

        Raises:
            ValueError: never.
        """

    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit) as caught:
        run_command(command, as_positional=True)
    assert caught.value.code == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "Count things." in lines
    assert "images                what to count." in lines
    assert "--root ROOT           where." in lines
    assert any("how many. (default: 3)" in line for line in lines)
    assert not any(word in line for line in lines for word in ("ValueError", "class", "--config"))


def test_ctrl_c_leaves_nothing_that_looks_finished(tmp_path):
    """A real signal to a process in the middle of a file."""
    code = """
import signal
import numpy as np
from pathlib import Path
from convert.command import run_command
from convert.writers.tar import write_tar

def command(root: Path):
    images = np.zeros((1_000_000, 1, 1, 3), np.uint8)
    write_tar(root / "x.tar", images, np.zeros(len(images), int), lambda count: print(count, flush=True))

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs behind ignore it
run_command(command)
"""
    command = [sys.executable, "-c", code, "--root", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "1000\n"
        assert len(list(tmp_path.iterdir())) == 1  # the temporary file
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors[:15]) == (130, "error: stopped;")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cifar", "svhn", "folder", "shapes", "verify"])
def test_every_script_runs_as_a_file_and_as_a_module(name, tmp_path):
    """As a file from any folder and as a module from the repository, without an installation."""
    script = str(REPOSITORY / "convert" / f"{name}.py")
    for how, folder in (([script], tmp_path), (["-m", f"convert.{name}"], REPOSITORY)):
        command = [sys.executable, *how, "--bad-option"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.endswith(" (--help lists the options)\n")


def test_a_failure_is_one_sentence(tmp_path):
    command = [sys.executable, str(REPOSITORY / "convert" / "cifar.py"), "--source", "absent", "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: absent does not exist: give --source an archive or a folder of CIFAR-10\n"


def test_flags_and_pairs_of_numbers(monkeypatch, capsys):
    called = []

    def command(
        images: Path, dry_run: bool = False, orient: bool = True, range: tuple[float, float] | None = None
    ) -> None:
        """Do it."""
        called.append((dry_run, orient, range))

    for words in ("x", "--dry-run x", "x --orient=false --range -5 1e3", "--range 0 1 x"):
        monkeypatch.setattr(sys, "argv", ["command", *words.split()])
        run_command(command, as_positional=True)
    assert called == [(False, True, None), (True, True, None), (False, False, (-5, 1000)), (False, True, (0, 1))]
    monkeypatch.setattr(sys, "argv", ["command", "x", "--range", "5"])
    with pytest.raises(SystemExit):
        run_command(command, as_positional=True)
    assert capsys.readouterr().err == "error: --range takes 2 numbers, such as --range 0 1 (--help lists the options)\n"
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit):
        run_command(command, as_positional=True)
    assert "{true,false}" not in capsys.readouterr().out
