"""What the manifest keeps of an inventory, and of what was asked for."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from convert.sources.folder.values import BrokenFile, FoundImages
from loaders.formats.manifest import Manifest


def asked_for(images: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The source of a conversion and the options that decide what comes out of it, as they go through JSON."""
    plain = {name: value.name if isinstance(value, Path) else value for name, value in options.items()}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
    return {"images": images.resolve().name, **plain}


def difference(manifest: Manifest, asked: dict[str, Any]) -> str:
    """What was asked for otherwise when a data set was made, as "images was a and is now b, ..."; "" for nothing."""
    then = {"images": manifest.source, **manifest.inventory.get("asked", {})}
    return ", ".join(
        f"{name} was {then[name]} and is now {value}"
        for name, value in asked.items()
        if name in then and then[name] != value
    )


def tell_there(root: Path, manifest: Manifest, asked: dict[str, Any], console: Console) -> None:
    """Tell that a data set is there already, by its manifest.

    Raises:
        ValueError: other images or options made it; says which.
    """
    changed = difference(manifest, asked)
    if changed:
        raise ValueError(f"{root} holds another conversion ({changed}): delete it, or choose another --root")
    console.print(f"{root} is already there (from {manifest.source}); delete it to convert again", soft_wrap=True)


def record(found: FoundImages, skipped: list[BrokenFile], pixels: list[str], asked: dict[str, Any]) -> dict[str, Any]:
    """What the manifest keeps of it."""
    return {
        "asked": asked,
        "counts": found.counts(),
        "left_out": {why: count for why, count in sorted(found.left_out.items()) if count},
        "broken": [[file.name, file.kind] for file in sorted(skipped)],
        "notes": [*found.notes, *pixels],
    }


def join_records(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of all parts of a data set together. What was left out is the same in all, who saw the same files."""
    if not all(records):
        return {}
    first = records[0]
    counts = {name: np.sum([one["counts"][name] for one in records], axis=0).tolist() for name in first["counts"]}
    broken = sorted({tuple(file) for one in records for file in one["broken"]})
    notes = dict.fromkeys(note for one in records for note in one["notes"])
    asked = {"asked": first["asked"]} if "asked" in first else {}
    return {
        **asked,
        "counts": counts,
        "left_out": first["left_out"],
        "broken": [[*file] for file in broken],
        "notes": [*notes],
    }
