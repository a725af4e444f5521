"""The programs in examples/ run as they stand, and do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.folder import convert_folder
from convert.shapes import convert_shapes
from tests.conftest import photographs

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    convert_shapes(root, 1000, 200)
    return root / "shapes"


def run(*command: object) -> str:
    """What a program prints; it must end well."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_is_short_and_says_how_it_is_run(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert 20 <= len(text.splitlines()) <= 85
    assert f"examples/{name}" in text.partition('"""')[2].partition('"""')[0]


@pytest.mark.parametrize("name", ["airbench_style", "ddp", "importance_loop", "own_images", "plain_loop"])
def test_an_example_has_help(name):
    assert run(EXAMPLES / f"{name}.py", "--help").startswith(f"usage: {name}.py ")


def test_the_example_of_several_ranks_says_how_it_is_started():
    env = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    words = [sys.executable, str(EXAMPLES / "ddp.py"), "absent.beton"]
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("start it with torchrun, as in torchrun --nproc_per_node 2 examples/ddp.py PATH")


@pytest.mark.slow
def test_importance_loop(shapes):
    """Four epochs of 300 draws: the table has each of them, and later epochs come back to what is wrong."""
    lines = run(EXAMPLES / "importance_loop.py", shapes / "train.beton").splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"epoch {epoch}" for epoch in range(4)]
    seen = [int(re.search(r"(\d+) seen", line)[1]) for line in lines]
    assert seen[0] == 300
    assert seen == sorted(seen)
    assert seen[-1] < 1000


@pytest.mark.slow
def test_airbench_style(shapes):
    told = run(
        EXAMPLES / "airbench_style.py", shapes, "--budget=0.5"
    )  # too few steps to learn: only that it comes to its end
    assert 0 <= float(re.search(r"accuracy ([\d.]+) after", told)[1]) <= 1


@pytest.mark.slow
def test_ddp(shapes):
    """Two ranks take halves of each plan, and both know all visits."""
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    told = run(*launch, EXAMPLES / "ddp.py", shapes / "train.beton")
    lines = [
        f"epoch {epoch}, rank {rank}: 150 images here, {300 * (epoch + 1)} visits of all ranks"
        for epoch in range(3)
        for rank in (0, 1)
    ]
    assert sorted(told.splitlines()) == lines


@pytest.mark.slow
def test_own_images(tmp_path):
    for split, count in (("train", 20), ("test", 4)):
        for number, image in enumerate(photographs(count, 70, 90, seed=count)):
            path = tmp_path / "images" / split / "ab"[number % 2] / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    convert_folder(tmp_path / "images", root=tmp_path / "mine")
    first, second, third, last = run(EXAMPLES / "own_images.py", tmp_path / "mine").splitlines()
    assert first == "20 images with labels [0, 1]"
    ids = [eval(line.partition("first ids ")[2]) for line in (second, third)]
    assert ids[0] != ids[1]
    assert "10 images" in second
    assert last.startswith("ids [5, 3, 3, 0] are images [4, 3, 64, 64] with labels [")


@pytest.mark.slow
def test_own_model(shapes, tmp_path):
    quick = (f"--data={shapes}", f"--out={tmp_path / 'run'}", "--budget=0.3", "--epochs=3", "--batch_size=50")
    told = run("-m", "training.run", *quick, "--model=examples/own_model.py:plain_network", "--width=0.5")
    assert "examples/own_model.py:plain_network at width 0.5" in told
    assert np.isfinite(float(re.search(r"test accuracy +│ ([\d.]+) %", told)[1]))
