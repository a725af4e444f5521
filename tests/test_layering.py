"""Who may import whom, read from the source: the layers of docs/design.md, section 3."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for package in ("convert", "loaders", "training") for path in (ROOT / package).rglob("*.py"))
PURE_NAMES = "rng designs uniform_order policies policy_parts scheduler permutation prefix_sum"
PURE = {f"loaders/order/{name}.py" for name in PURE_NAMES.split()}
BACKENDS = {f"loaders.backends.{name}" for name in ("fused", "fused_gpu", "ffcv", "dali", "reference")}
GLOBAL_RANDOMNESS = {
    f"{module}.{name}"
    for module in ("np.random", "numpy.random")
    for name in ("seed", "choice", "permutation", "shuffle", "rand", "randn", "randint", "random", "uniform", "normal")
} | {"torch.manual_seed", "torch.seed", "random.seed", "random.random", "random.choice", "random.shuffle"}


def imports(tree: ast.Module) -> set[str]:
    """Modules that the source imports anywhere, functions included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(modules: set[str], package: str) -> set[str]:
    return {module for module in modules if module == package or module.startswith(package + ".")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path):
    name, tree = str(path.relative_to(ROOT)), ast.parse(path.read_text())
    modules = imports(tree)
    if not name.startswith("training/"):
        assert not within(modules, "training")
    if name in PURE:
        assert not within(modules, "torch")
        assert not modules & BACKENDS
    if name not in ("loaders/backends/ffcv.py", "convert/writers/beton.py"):
        assert not within(modules, "ffcv")
    if name != "loaders/backends/dali.py":
        assert not within(modules, "nvidia")
    if name != "loaders/kernels/augment_gpu.py":
        assert not within(modules, "triton")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_global_generator_is_touched(path):
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert not calls & GLOBAL_RANDOMNESS
