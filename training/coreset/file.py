"""A core-set on disk: NAME.npz with ids, weights and perhaps losses, and NAME.json with how they were
chosen and what that cost.

Nothing in the files is trusted: every value is checked when they are read.
"""

import hashlib
import reprlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loaders.formats import json_file
from loaders.formats.atomic import atomic_path
from loaders.formats.claims import read_limited
from loaders.formats.json_file import entry, parse_json, read_json
from loaders.formats.npz_file import holds, read_arrays
from training.json_file import write_json
from training.machine.commands import command
from training.machine.distributed import Ranks

FORMAT, VERSION = "rebar core-set", 1
MAX_BYTES = 1 << 32  # of the .npz: 12 bytes for each id


@dataclass(frozen=True)
class Cost:
    """What choosing took: passes of the proxies (samples that went forward, backward), their FLOPs, and seconds."""

    forward_samples: int = 0
    backward_samples: int = 0
    forward_flops: float = 0.0
    backward_flops: float = 0.0
    seconds: float = 0.0

    @property
    def flops(self) -> float:
        return self.forward_flops + self.backward_flops

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True, eq=False)
class Coreset:
    """Chosen samples of a training set.

    Attributes:
        ids: int64 [M], ascending.
        weights: float32 [M] with mean one, or None where all are one.
        method: that chose them.
        cost: of choosing them.
        digest: SHA-256 of ids and weights, and losses.
        losses: float32 [M] of a network that was trained on the other samples (method rho), or None.
    """

    ids: np.ndarray
    weights: np.ndarray | None
    method: str
    cost: Cost
    digest: str
    losses: np.ndarray | None = None

    def summary(self, path: str) -> dict[str, Any]:
        """Its entry in a run's summary.json."""
        told = {"method": self.method, "num_ids": len(self.ids), "flops": self.cost.flops, "seconds": self.cost.seconds}
        return {"file": path, **told, "sha256": self.digest}


def json_path(path: str | Path) -> Path:
    """Where the manifest of a core-set lies."""
    return Path(path).with_suffix(".json")


def write_coreset(
    path: Path,
    ids: np.ndarray,
    weights: np.ndarray,
    options: dict[str, Any],
    data: dict[str, Any],
    per_class: dict[str, int],
    cost: Cost,
    losses: np.ndarray | None = None,
) -> None:
    """Write both files, the manifest last, each by atomic rename.

    Args:
        path: ends in .npz.
        ids, weights: int64 [M] ascending, float32 [M].
        options: everything that decided the choice.
        data: `name`, `num_samples` and `digest` of the training set.
        per_class: chosen samples of each class.
        losses: float32 [M] of a reference network, or None.

    The same arguments give the same bytes.
    """
    json_path(path).unlink(missing_ok=True)  # it must not vouch for ids that are about to change
    arrays = {"ids": ids.astype("<i8"), "weights": weights.astype("<f4")}
    if losses is not None:
        arrays["losses"] = losses.astype("<f4")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "options": options,
        "data": data,
        "num_ids": len(ids),
        "ids_per_class": per_class,
        "cost": {**asdict(cost), "flops": cost.flops},
        "sha256": _digest(ids, weights, losses),
    }
    write_json(json_path(path), manifest, indent=2)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest of a core-set, or an empty one where there is none that has options."""
    try:
        found = read_json(json_path(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("options"), dict) else {}


def broadcast_files(path: str | None, ranks: Ranks) -> tuple[bytes, bytes] | None:
    """Both files as rank 0 reads them, at all ranks; None without a path. All ranks call it together.

    Raises:
        ValueError: a file is missing; says how to make it.
    """
    if path is None:
        return None
    files = (b"", b"")
    with ranks.together():
        if ranks.is_writer:
            files = _read_files(path)
    return ranks.broadcast(files[0] or b"\0"), ranks.broadcast(files[1] or b"\0")


def read_coreset(path: str, data_digest: str, num_samples: int, files: tuple[bytes, bytes] | None = None) -> Coreset:
    """Read and check a core-set.

    Args:
        data_digest: of the training set that it must be of (`training.data.manifest.data_digest`).
        num_samples: N of that training set.
        files: content of the .npz and of the .json where they have been read already.

    Raises:
        ValueError: a file is missing, cut, changed or of another kind, the core-set is of other data, or an id is not
            in 0..N-1.
    """
    npz, text = files or _read_files(path)
    again, where = f"choose it again with `{command('coreset')}`", str(json_path(path))
    try:
        manifest = parse_json(text, where)
        kind, version = entry(manifest, "format", str, where), entry(manifest, "version", int, where)
        chosen = entry(entry(manifest, "options", dict, where), "method", str, where)
        cost = _cost(entry(manifest, "cost", dict, where), where)
        data, digest = entry(manifest, "data", dict, where), entry(manifest, "sha256", str, where)
        name, made_on = entry(data, "name", str, where), entry(data, "digest", str, where)
    except ValueError as error:
        raise ValueError(
            f"{where} is not a core-set's manifest (cut short, or another kind of file: {error}): {again}"
        ) from None
    if (kind, version) != (FORMAT, VERSION):
        raise ValueError(
            f"{json_path(path)} is a {reprlib.repr(kind)} of version {reprlib.repr(version)}, "
            f"needed: {FORMAT!r} of {VERSION}: {again}"
        )
    if made_on != data_digest:
        raise ValueError(
            f"the core-set {path} is of other data ({name!s:.100}) than --data holds: {again} on that data"
        )
    try:
        ids, weights = read_arrays(npz, ("ids", "weights"), MAX_BYTES)
        losses = read_arrays(npz, ("losses",), MAX_BYTES)[0] if holds(npz, "losses") else None
    except ValueError as error:
        raise ValueError(
            f"{path} is not a core-set (cut short, damaged, or another kind of file: {error}): {again}"
        ) from None
    if (
        ids.dtype != np.int64
        or weights.dtype != np.float32
        or ids.ndim != 1
        or weights.shape != ids.shape
        or not len(ids)
    ):
        raise ValueError(
            f"{path} holds ids {ids.dtype} {list(ids.shape)} and weights {weights.dtype} {list(weights.shape)}, "
            f"needed: int64 [M >= 1] and float32 [M]: {again}"
        )
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(f"{path} has weights that are negative or not finite: {again}")
    if ids.min() < 0 or ids.max() >= num_samples or (np.diff(ids) <= 0).any():
        raise ValueError(f"{path} has ids that are not ascending or not in 0..{num_samples - 1}: {again}")
    if losses is not None and (
        losses.dtype != np.float32 or losses.shape != ids.shape or not np.isfinite(losses).all()
    ):
        raise ValueError(
            f"{path} holds losses {losses.dtype} {list(losses.shape)}, needed: finite float32 {list(ids.shape)}: "
            f"{again}"
        )
    if _digest(ids, weights, losses) != digest:
        raise ValueError(f"{path} does not hold what its manifest says (another SHA-256): {again}")
    return Coreset(ids, None if (weights == 1).all() else weights, chosen, cost, digest, losses)


def _cost(values: dict[str, Any], where: str) -> Cost:
    """What choosing took, from the manifest: every number is there, and not negative."""
    samples = [entry(values, f"{way}_samples", int, where) for way in ("forward", "backward")]
    numbers = [entry(values, name, float, where) for name in ("forward_flops", "backward_flops", "seconds")]
    if min(*samples, *numbers) < 0:
        raise ValueError(f"{where}: a cost is negative")
    return Cost(samples[0], samples[1], *numbers)


def _read_files(path: str | Path) -> tuple[bytes, bytes]:
    if Path(path).suffix != ".npz":
        raise ValueError(f"a core-set is a file that ends in .npz, got {path}")
    try:
        return read_limited(path, MAX_BYTES), read_limited(json_path(path), json_file.MAX_BYTES)
    except OSError as error:
        raise ValueError(
            f"cannot read the core-set {error.filename} ({error.strerror}): "
            f"choose one with `{command('coreset')}`, or leave --coreset out"
        ) from None


def _digest(ids: np.ndarray, weights: np.ndarray, losses: np.ndarray | None) -> str:
    more = b"" if losses is None else losses.astype("<f4").tobytes()
    return hashlib.sha256(ids.astype("<i8").tobytes() + weights.astype("<f4").tobytes() + more).hexdigest()
