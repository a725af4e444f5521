"""Compiled kernels are kept wherever something can be written, and made anew where they cannot be read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import numpy as np
from loaders.order.rng import hash64
from loaders.compiled import compiled

@compiled(nogil=True)
def sum_of_hashes(n):
    total = np.uint64(0)
    for i in range(n):
        total += hash64(np.uint64(3), np.uint64(i))
    return total

@compiled()
def twice(n):
    return 2 * n

if __name__ == "__main__":
    print(sum_of_hashes(4), twice(4), sum_of_hashes._cache.cache_path)
"""
USER_WARNING = "UserWarning: "


@pytest.fixture
def sources(tmp_path):
    """A copy of `loaders`, which belongs to its reader, with a program that has kernels of its own."""
    for package in ("loaders", "rebar_loaders"):
        shutil.copytree(ROOT / package, tmp_path / "sources" / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sources" / "program.py").write_text(CODE)
    return tmp_path / "sources"


def read_only(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            path.chmod(0o555)


def run(sources: Path, home: Path, without_privileges: bool = False, **environment: str) -> tuple[str, list[str]]:
    """What the program printed, and its warnings."""
    before = []
    if without_privileges and os.geteuid() == 0:  # root writes where the mode forbids it, but for this
        if shutil.which("setpriv") is None:
            pytest.skip("root needs the program setpriv (Debian: util-linux)")
        before = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG", "PYTHON"))}
    env = {**kept, "HOME": str(home), "TMPDIR": str(home.parent / "temporary"), **environment}
    (home.parent / "temporary").mkdir(exist_ok=True)
    command = [*before, sys.executable, "program.py"]
    done = subprocess.run(command, cwd=sources, env=env, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), [
        line.partition(USER_WARNING)[2] for line in done.stderr.splitlines() if USER_WARNING in line
    ]


def files(folder: Path) -> dict[str, int]:
    """The files of Numba's cache, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


@pytest.mark.slow
def test_where_nothing_else_can_be_written_the_temporary_folder_serves_and_is_named_once(sources, tmp_path):
    home, folder = tmp_path / "home", tmp_path / "temporary" / f"rebar-numba-{os.geteuid()}"
    home.mkdir()
    expected, said = run(sources, home)
    assert not said
    for path in sources.rglob("__pycache__"):
        shutil.rmtree(path)
    read_only(sources)
    read_only(home)
    try:
        printed, said = run(sources, home, without_privileges=True)
        assert printed.split()[:2] == expected.split()[:2]
        assert printed.split()[2].startswith(str(folder))
        assert len(said) == 1
        assert said[0].startswith(f"compiled kernels are kept in {folder}: neither beside the sources nor")
        assert not folder.stat().st_mode & 0o077
        written = files(folder)
        assert written
        run(sources, home, without_privileges=True)
        assert files(folder) == written, "the second process compiles nothing"
        chosen = tmp_path / "chosen"
        printed, said = run(sources, home, without_privileges=True, NUMBA_CACHE_DIR=str(chosen))
        assert (printed.split()[2].startswith(str(chosen)), said) == (True, [])
        folder.chmod(0o777)  # so that others may have written there
        printed, said = run(sources, home, without_privileges=True)
        assert (printed.split()[:2], len(said)) == (expected.split()[:2], 1)
        assert said[0].startswith(f"compiled kernels cannot be kept ({folder} belongs to another user)")
    finally:
        for path in (sources, *sources.rglob("*"), home):
            if path.is_dir():
                path.chmod(0o755)


def test_a_file_that_is_cut_is_made_anew(sources, tmp_path):
    cache = tmp_path / "cache"
    expected, _ = run(sources, tmp_path / "home", NUMBA_CACHE_DIR=str(cache))
    for name, ending in (("sum_of_hashes", ".nbi"), ("twice", ".nbc")):
        cut = next(path for path in cache.rglob("*.nb?") if name in path.name and path.suffix == ending)
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    printed, said = run(sources, tmp_path / "home", NUMBA_CACHE_DIR=str(cache))
    assert printed == expected
    assert 1 <= len(said) <= 2
    assert said[0].startswith(f"compiled kernels in {cut.parent} cannot be read (")
    assert run(sources, tmp_path / "home", NUMBA_CACHE_DIR=str(cache)) == (expected, []), "it is whole again"


def test_without_compiling_there_is_one_sentence(tmp_path):
    code = "import loaders; print(loaders.IndexScheduler); loaders.IndexScheduler(50, budget=0.3).plan(0)"
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "IndexScheduler" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("ImportError: NUMBA_DISABLE_JIT is set, and Rebar's kernels must be")
