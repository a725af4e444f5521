"""What the manifest keeps of an inventory."""

from typing import Any

import numpy as np

from convert.sources.folder.values import BrokenFile, FoundImages


def record(found: FoundImages, skipped: list[BrokenFile], pixels: list[str]) -> dict[str, Any]:
    """What the manifest keeps of it."""
    return {
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
    return {"counts": counts, "left_out": first["left_out"], "broken": [[*file] for file in broken], "notes": [*notes]}
