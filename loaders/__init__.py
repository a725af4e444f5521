"""Order, gather, augment, feed: from a dataset file to batches on the device, in an order that is a pure function."""

import importlib

# Imported when first used: `import loaders` compiles nothing and starts no thread.
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
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'loaders' has no attribute {name!r}")
    return getattr(importlib.import_module(f"loaders.{_HOME[name]}"), name)
