"""The examples of docs/how-to/ are run as they stand; lists of files are whole."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convert.shapes import convert_shapes
from convert.writers.beton import write_beton
from loaders import Augment, CutMix, IndexScheduler, make_loader, open_dataset
from loaders.engine import BACKENDS
from loaders.order.designs import DESIGNS

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to"


def run_example(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first Python block of a page, as a module of its own name."""
    name = f"example_{page.removeprefix('add_a_')}"
    file = tmp_path / f"{name}.py"
    file.write_text(re.search(r"```python\n(.*?)```", (HOW_TO / f"{page}.md").read_text("utf-8"), re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def noise(tmp_path, monkeypatch):
    """The data set that add_a_data_set.md makes."""
    monkeypatch.chdir(tmp_path)
    return run_example("add_a_data_set", tmp_path, monkeypatch)


def test_the_documented_data_set_is_written_whole(noise):
    dataset = open_dataset("data/noise/train.beton")
    assert dataset.num_samples == 1000
    assert np.array_equal(dataset.labels, noise.labels[:1000])
    assert np.array_equal(dataset.bytes(7), noise.images[7].ravel())


def test_the_documented_backend_equals_the_reference(noise, tmp_path, monkeypatch):
    run_example("add_a_backend", tmp_path, monkeypatch)
    monkeypatch.setitem(BACKENDS, "plain", "example_backend")
    augment = Augment(crop_padding=4, flip=True, mixer=CutMix())
    plan = IndexScheduler(1000, budget=0.05, seed=3).plan(2)
    batches = [
        list(make_loader("data/noise/train.beton", 20, backend=backend, augment=augment, dtype=torch.uint8).epoch(plan))
        for backend in ("plain", "reference")
    ]
    for mine, wanted in zip(*batches, strict=True):
        assert torch.equal(mine.ids, wanted.ids)
        assert torch.equal(mine.labels, wanted.labels)
        assert torch.equal(mine.images, wanted.images)


def test_the_documented_augmentation_is_exact_in_every_backend(noise, tmp_path, monkeypatch):
    Path("data/noise").rename("data/cifar10")
    page = run_example("augment", tmp_path, monkeypatch)
    assert [i for batch in page.test for i in batch.ids.tolist()] == list(range(200))
    path, options = "data/cifar10/train.beton", {"augment": page.augment, "batch_transform": page.add_noise}
    plan = IndexScheduler(1000, budget=0.05, seed=3).plan(1)
    batches = [
        list(make_loader(path, 20, backend=backend, **options).epoch(plan)) for backend in ("fused", "reference")
    ]
    assert all(torch.equal(a.images, b.images) for a, b in zip(*batches, strict=True))


def test_the_documented_design_draws_by_weight(tmp_path, monkeypatch):
    module = run_example("add_a_design", tmp_path, monkeypatch)
    line = re.search(
        r'^ {4}("[\w-]+"): (Design\(.*\)),$', (HOW_TO / "add_a_design.md").read_text("utf-8"), re.MULTILINE
    )
    monkeypatch.setitem(DESIGNS, line[1].strip('"'), eval(line[2], vars(module)))
    weights = np.where(np.arange(1000) < 500, 0.0, 1.0)
    weights[999] = 1e9

    def drawn(epoch: int) -> np.ndarray:
        return IndexScheduler(1000, lambda snapshot: weights, budget=0.1, design="sequential-poisson").plan(epoch).ids

    assert len(set(drawn(0))) == 100
    assert drawn(0).min() >= 500
    assert 999 in drawn(0)
    assert np.array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))


@pytest.mark.parametrize("package", ["training", "convert"])
def test_the_readme_of_a_package_names_all_its_files(package):
    files = [str(path.relative_to(ROOT / package)) for path in (ROOT / package).rglob("*.py") if path.stat().st_size]
    lines = (ROOT / package / "README.md").read_text("utf-8").splitlines()
    assert sorted(line.split("`")[1] for line in lines if line.startswith("| `")) == sorted(files)


def test_the_documented_quickstart_draws_its_budget(tmp_path, monkeypatch, capsys):
    convert_shapes(tmp_path / "data", 200, 50)
    monkeypatch.chdir(tmp_path)
    run_example("quickstart", tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert [line.partition(",")[0] for line in lines] == [f"epoch {epoch}: 60 of 200 images" for epoch in range(5)]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_paths_that_a_page_names_exist(page):
    """But for what a reader is told to save, and in the notebook, which describes the code of its day."""
    if page.parent.name == "experiments":
        return
    text = page.read_text("utf-8")
    named = set(re.findall(r"`((?:benchmarks|configs|convert|examples|loaders|tests|training)/[\w./]+\.\w+)`", text))
    named -= set(re.findall(r"Save it as\s+`(.+?)`", text))
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_the_lines_to_copy_are_those_of_the_examples():
    text = (HOW_TO / "use_the_loader_elsewhere.md").read_text("utf-8")
    blocks = re.findall(r"^From \[([\w.]+)\].*?```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for name, block in blocks:
        lines = {line.strip() for line in (ROOT / "examples" / name).read_text("utf-8").splitlines()} | {"..."}
        assert [line for line in block.splitlines() if line.strip() not in lines] == []


@pytest.fixture(scope="module")
def folder_with_cifar(tmp_path_factory):
    """A folder with a file where CIFAR-10's lies, of a tenth of the images, and smaller ones."""
    path = tmp_path_factory.mktemp("project") / "data" / "cifar10" / "train.beton"
    path.parent.mkdir(parents=True)
    write_beton(path, np.zeros((5_000, 4, 4, 3), np.uint8), np.arange(5_000) % 10)
    return path.parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_loop_on_the_first_screen_runs(page, folder_with_cifar, monkeypatch):
    block = re.search(r"```python\n.*?(# after\n.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(folder_with_cifar)
    sizes = []
    exec(block.replace("50_000", "5_000"), {"train_step": lambda images, labels: sizes.append(len(images))})
    assert sizes == [512, 512, 476], "30 % of 5,000"
