"""Feed images to a device, in any order, as fast as memory allows.

    from loaders import IndexScheduler, make_loader

    loader = make_loader("train.beton", batch_size=128, scheduler=IndexScheduler(50_000, budget=0.3))
    for batch in loader:
        ...

A name is imported when it is first used: `import loaders` compiles nothing and starts no thread. `import rebar_loaders`
is the same package, under a name that no `loaders.py` of a project hides.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .augment.color_jitter import ColorJitter as ColorJitter
    from .augment.config import Augment as Augment
    from .augment.erasing import RandomErasing as RandomErasing
    from .augment.mixers import RICAP as RICAP
    from .augment.mixers import CutMix as CutMix
    from .augment.mixers import Mixup as Mixup
    from .augment.randaugment import RandAugment as RandAugment
    from .formats.open import open_dataset as open_dataset
    from .importance import ImportanceTable as ImportanceTable
    from .loader import make_loader as make_loader
    from .order.policy_parts import Preference as Preference
    from .order.scheduler import IndexScheduler as IndexScheduler
    from .scoring import scores as scores
    from .torch_sampler import SchedulerSampler as SchedulerSampler
    from .types import Batch as Batch
    from .types import EpochPlan as EpochPlan
    from .types import Mix as Mix
    from .types import Scores as Scores
    from .types import Snapshot as Snapshot

__version__ = "0.2.0"

_HOME = {
    "open_dataset": "formats.open",
    "make_loader": "loader",
    "Augment": "augment.config",
    "RandAugment": "augment.randaugment",
    "ColorJitter": "augment.color_jitter",
    "RandomErasing": "augment.erasing",
    "Mixup": "augment.mixers",
    "CutMix": "augment.mixers",
    "RICAP": "augment.mixers",
    "EpochPlan": "types",
    "Batch": "types",
    "Mix": "types",
    "Snapshot": "types",
    "Scores": "types",
    "ImportanceTable": "importance",
    "IndexScheduler": "order.scheduler",
    "Preference": "order.policy_parts",
    "SchedulerSampler": "torch_sampler",
    "scores": "scoring",
}
__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'loaders' has no attribute {name!r}: its names are {', '.join(_HOME)}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __package__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])  # for tab completion


if __name__ == "loaders":  # the package's other name; each module is imported once, and pickles name `rebar_loaders`
    from rebar_loaders.names import make_same

    make_same("loaders", "rebar_loaders")
