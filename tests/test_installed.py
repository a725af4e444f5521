"""Rebar beside a project that has its own `loaders.py`, `training/` and `convert.py`: by hand, and installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLASHES = ("loaders.py", "convert.py", "training/__init__.py", "training/run.py")
LOOP = """
import pickle, sys
import convert, loaders, training  # the project's own
from rebar_loaders import Augment, IndexScheduler, make_loader
from rebar_loaders.torch_sampler import SchedulerSampler

assert all(module.mine for module in (convert, loaders, training))
loader = make_loader(sys.argv[1], 50, augment=Augment(flip=True), scheduler=IndexScheduler(300, budget=0.5, seed=1))
again = pickle.loads(pickle.dumps(loader))
assert [batch.ids.tolist() for batch in loader] == [batch.ids.tolist() for batch in again]
print(len(SchedulerSampler(loader.scheduler)), [name for name in sys.modules if name.startswith("loaders.")])
"""


@pytest.fixture
def project(tmp_path):
    """The folder of a project whose modules are called as Rebar's."""
    folder = tmp_path / "project"
    for name in CLASHES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine = True\nif __name__ == '__main__':\n    print('mine')\n")
    (folder / "loop.py").write_text(LOOP)
    return folder


def run(*command: object, cwd: Path, **env: str) -> str:
    """What a program prints; it must end well."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=clean | env, capture_output=True, text=True, check=False, timeout=280, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_of_the_same_names_hides_the_modules_but_not_the_commands(project):
    env = {"PYTHONPATH": str(ROOT)}
    assert run(sys.executable, "-m", "training.run", cwd=project, **env) == "mine\n"
    told = run(sys.executable, "-m", "rebar_loaders.commands", "train", "--help", cwd=project, **env)
    assert "Train an image classifier under a budget" in told
    assert "rebar-convert {cifar," in run(sys.executable, "-m", "rebar_loaders.commands", "convert", cwd=project, **env)


@pytest.mark.slow
def test_a_wheel_serves_a_project_of_the_same_names(project, tmp_path):
    source, wheels, home = tmp_path / "source", tmp_path / "wheels", tmp_path / "venv"
    names = ("loaders", "rebar_loaders", "training", "convert")
    for name in names:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, source, cwd=tmp_path)
    (wheel,) = wheels.glob("rebar_loaders-*.whl")
    venv.create(home, symlinks=True)
    mine = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    run(*pip, "--python", home / "bin" / "python", "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # What Rebar needs comes from the environment of these tests; an editable install of Rebar there is not followed,
    # since a line that is a path does not run that folder's own .pth files.
    (mine / "others.pth").write_text(sysconfig.get_path("purelib"))
    bin, env = home / "bin", {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::ImportWarning"}

    version = run(bin / "python", "-c", "import rebar_loaders as r; print(r.__version__, r.__file__)", cwd=project)
    assert version.split()[0] == wheel.name.split("-")[1]
    assert Path(version.split()[1]) == mine / "loaders" / "__init__.py"
    assert all((mine / name / "py.typed").exists() for name in names)

    run(bin / "rebar-convert", "shapes", "--num-train", 300, "--num-test", 100, cwd=project, **env)
    assert run(bin / "python", "loop.py", "data/shapes/train.beton", cwd=project, **env) == "150 []\n"
    quick = ("--model=resnet8", "--width=0.5", "--epochs=2", "--batch_size=50", "--device=cpu", "--budget=0.5")
    told = run(bin / "rebar-train", "--data=data/shapes", *quick, "--method=p-sgd", cwd=project, **env)
    assert "results in runs/shapes-p-sgd-b0.5-s0" in told
    told = run(
        *(bin / "rebar-compare", "--methods", "uniform", "p-sgd", "--data=data/shapes", *quick[:-1]),
        *("--budgets", 0.5, "--seeds", 1, "--workers", 2),
        cwd=project,
        **env,
    )
    assert "report: studies/shapes/report.html" in told
