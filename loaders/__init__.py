"""Feed images to a device, in any order, as fast as memory allows.

    from loaders import IndexScheduler, make_loader

    loader = make_loader("train.beton", batch_size=128, scheduler=IndexScheduler(50_000, budget=0.3))
    for batch in loader:
        ...

A name is imported when it is first used: `import loaders` compiles nothing and starts no thread.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loaders.augment.config import Augment as Augment
    from loaders.augment.mixers import RICAP as RICAP
    from loaders.augment.mixers import CutMix as CutMix
    from loaders.augment.mixers import Mixup as Mixup
    from loaders.augment.randaugment import RandAugment as RandAugment
    from loaders.formats.open import open_dataset as open_dataset
    from loaders.importance import ImportanceTable as ImportanceTable
    from loaders.loader import make_loader as make_loader
    from loaders.order.policy_parts import Preference as Preference
    from loaders.order.scheduler import IndexScheduler as IndexScheduler
    from loaders.scoring import scores as scores
    from loaders.torch_sampler import SchedulerSampler as SchedulerSampler
    from loaders.types import Batch as Batch
    from loaders.types import EpochPlan as EpochPlan
    from loaders.types import Mix as Mix
    from loaders.types import Scores as Scores
    from loaders.types import Snapshot as Snapshot

_HOME = {
    "open_dataset": "formats.open",
    "make_loader": "loader",
    "Augment": "augment.config",
    "RandAugment": "augment.randaugment",
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
    return getattr(importlib.import_module(f"loaders.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])  # for tab completion
