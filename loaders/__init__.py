"""Order, gather, augment, feed: from a dataset file to batches on the device, in an order that is a pure function."""

import importlib

# Imported when first used: `import loaders` compiles nothing and starts no thread.
_HOME = {
    "open_dataset": "dataset",
    "make_loader": "factory",
    "Augment": "augment",
    "RandAugment": "randaugment",
    "Mixup": "mixers",
    "CutMix": "mixers",
    "RICAP": "mixers",
    "EpochPlan": "types",
    "Batch": "types",
    "Mix": "types",
    "Snapshot": "types",
    "Scores": "types",
    "ImportanceTable": "importance",
    "IndexScheduler": "scheduler",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'loaders' has no attribute {name!r}")
    return getattr(importlib.import_module(f"loaders.{_HOME[name]}"), name)
