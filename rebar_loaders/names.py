"""Which package a name of Rebar stands for, whatever else of that name lies in a project."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType


def load_package(name: str, folders: Sequence[Path]) -> ModuleType:
    """Import the package in the first folder under a name of its own choice; `sys.path` is not asked.

    Args:
        folders: where its modules are looked for; the first one has the `__init__.py`.
    """
    places = [str(folder) for folder in folders]
    spec = spec_from_file_location(name, folders[0] / "__init__.py", submodule_search_locations=places)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return sys.modules[name]


def take_names() -> None:
    """Let `loaders`, `training` and `convert` be Rebar's in this process, whatever the current folder holds."""
    for name in ("loaders", "training", "convert"):
        if name not in sys.modules:
            load_package(name, [Path(__file__).resolve().parents[1] / name])


def make_same(alias: str, name: str) -> None:
    """Let `import alias` and `import alias.x` give the modules `name` and `name.x`."""
    sys.modules[alias] = importlib.import_module(name)
    sys.meta_path.insert(0, _SameModules(alias + ".", name + "."))


class _SameModules(MetaPathFinder, Loader):
    """Finds each module below one name as the module of that place below another name."""

    def __init__(self, alias: str, name: str):
        self._alias, self._name = alias, name

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not fullname.startswith(self._alias):
            return None
        spec = find_spec(self._name + fullname.removeprefix(self._alias))
        return spec and ModuleSpec(fullname, self, origin=spec.origin, is_package=bool(spec.submodule_search_locations))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name + spec.name.removeprefix(self._alias))
        spec.loader_state = module.__spec__
        return module

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of a module, which `python -m` runs under the alias."""
        name = self._name + fullname.removeprefix(self._alias)
        spec = find_spec(name)
        return spec.loader.get_code(name) if spec and isinstance(spec.loader, InspectLoader) else None

    def exec_module(self, module: ModuleType) -> None:
        """It has been run already; only its own spec is put back, in whose place importlib puts the alias's."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
