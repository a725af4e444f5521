"""The installed commands, such as `rebar-train`; `python -m rebar_loaders.commands train` starts the same.

They start from any folder: a project's own `training/`, `convert/` or `loaders.py` does not hide Rebar's.
"""

import runpy
import sys

from rebar_loaders.names import take_names

MODULES = {
    "train": "training.run",
    "compare": "training.compare",
    "evaluate": "training.evaluate",
    "export": "training.export",
    "inspect": "training.inspect",
    "coreset": "training.coreset",
    "advise": "training.advise",
}
CONVERTERS = (
    "cifar",
    "svhn",
    "mnist",
    "mini_imagenet",
    "huggingface",
    "folder",
    "photographs",
    "shapes",
    "derive",
    "verify",
    "merge",
)


def train() -> int:
    """`rebar-train`: as `python -m training.run`."""
    return start("train")


def compare() -> int:
    """`rebar-compare`: as `python -m training.compare`."""
    return start("compare")


def evaluate() -> int:
    """`rebar-evaluate`: as `python -m training.evaluate`."""
    return start("evaluate")


def export() -> int:
    """`rebar-export`: as `python -m training.export`."""
    return start("export")


def inspect() -> int:
    """`rebar-inspect`: as `python -m training.inspect`."""
    return start("inspect")


def coreset() -> int:
    """`rebar-coreset`: as `python -m training.coreset`."""
    return start("coreset")


def advise() -> int:
    """`rebar-advise`: as `python -m training.advise`."""
    return start("advise")


def convert() -> int:
    """`rebar-convert folder IMAGES`: as `python convert/folder.py IMAGES`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in CONVERTERS:
        print(f"usage: rebar-convert {{{','.join(CONVERTERS)}}} ... (rebar-convert cifar --help has its options)")
        return 0 if name in ("-h", "--help") else 2
    take_names()
    del sys.argv[1]
    runpy.run_module(f"convert.{name}", run_name="__main__")
    return 0


def start(name: str) -> int:
    """Run a program of `training` on the arguments in `sys.argv`; it ends by SystemExit."""
    take_names()
    runpy.run_module(MODULES[name], run_name="__main__")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in (*MODULES, "convert"):
        sys.exit(f"usage: python -m rebar_loaders.commands {{{','.join((*MODULES, 'convert'))}}} ...")
    command = sys.argv.pop(1)
    sys.exit(convert() if command == "convert" else start(command))
