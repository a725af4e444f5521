"""The state of a run on its way to disk and back: whole or not at all, and without pickled code."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from loaders.formats.atomic import atomic_path
from loaders.formats.claims import check_stored
from loaders.formats.json_file import entry
from loaders.formats.sentence import one_line
from loaders.types import EpochPlan
from training.checkpoint_check import check_state, is_plain
from training.config import NEUTRAL_KEYS, Config
from training.machine.distributed import Ranks
from training.state import Run

FILE = "checkpoint.pt"
FORMAT, VERSION = "rebar checkpoint", 8
# torch writes a zip archive, whose last record ends in the length of a comment: 0 in 2 bytes. Here the comment is the
# SHA-256 of all bytes before it, so that the file stays one that torch and unzip can read.
END_BYTES, END_SIGNATURE = 22, b"PK\x05\x06"
PER_RANK = ("ordered-sgd",)  # methods that run on several ranks and choose within the part of a batch that each has
# Settings that the first checkpoints of this version do not have: as at their default.
_ADDED = ("eval_split", "vertical_flip", "erasing", "color_jitter", "graph")
DIGEST_BYTES = hashlib.sha256().digest_size


def save(folder: Path, run: Run) -> None:
    """Write the state by atomic rename: whatever ends the process, the file is a whole checkpoint, the old or the new.

    All ranks call it together. What they have summed in the running epoch moves to rank 0, which writes. The plan of a
    running epoch is kept as its ids, since the scores that it was drawn from are gone; between epochs it is drawn again
    from the table.
    """
    run.table.gather()
    run.ranks.reduce_to_writer(run.loss_sum)
    run.method.merge(run.ranks)
    with run.ranks.together():
        if run.ranks.is_writer:
            content = encode(state_dict(run))
            with atomic_path(folder / FILE) as temporary:
                temporary.write_bytes(content)  # torch's own file errors say nothing of a full disk


def state_dict(run: Run) -> dict[str, Any]:
    """Plain values and tensors, safe to load with `weights_only`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": run.config.as_dict(),
        "data": run.data.digest,
        "processes": _processes(run.ranks),
        "model": run.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "scaler": run.scaler.state_dict(),
        "average": None if run.average is None else run.average.state_dict(),
        "table": run.table.state_dict(),
        "ledger": run.ledger.state_dict(),
        "method": run.method.state_dict(),
        "epoch": run.epoch,
        "batch": run.batch,
        "plan": None if run.plan is None else _plan_dict(run.plan),
        "loss_sum": run.loss_sum,
        "trained": run.trained,
    }


def encode(content: dict[str, Any]) -> memoryview:
    """The bytes of a checkpoint: what torch saves, followed by the SHA-256 of that."""
    whole = io.BytesIO()
    torch.save(content, whole)
    whole.seek(-2, io.SEEK_END)
    whole.write(DIGEST_BYTES.to_bytes(2, "little"))
    with whole.getbuffer() as written:
        digest = hashlib.sha256(written).digest()
    whole.write(digest)
    return whole.getbuffer()


def load(path: Path, data: bytes | None = None) -> dict[str, Any]:
    """Read a checkpoint without running any code from it, once its digest has shown that no bit of it has changed.

    Args:
        data: the file's bytes where they have been read already, on another machine perhaps.

    Raises:
        ValueError: the file is missing, cut short, changed, or no checkpoint of this version.
    """
    unreadable = ValueError(
        f"{path} cannot be read as a checkpoint (cut short, damaged, or another kind of file): "
        "delete it and start the run again, or give --resume another one"
    )
    try:
        data = path.read_bytes() if data is None else data
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise ValueError(f"cannot read the checkpoint {path} ({error.strerror}): give --resume another one") from None
    has_digest = data[-END_BYTES - DIGEST_BYTES :].startswith(END_SIGNATURE)
    if has_digest and hashlib.sha256(memoryview(data)[:-DIGEST_BYTES]).digest() != data[-DIGEST_BYTES:]:
        raise unreadable
    try:
        _check_sizes(data)
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - zipfile and torch raise anything on damaged files
        raise unreadable from None
    kind, version = (content.get(key) if isinstance(content, dict) else None for key in ("format", "version"))
    if not isinstance(kind, str) or kind != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this program: give --resume the folder of one of its runs")
    if not isinstance(version, int) or version != VERSION:
        found = version if isinstance(version, int) else type(version).__name__
        raise ValueError(
            f"{path} has version {one_line(found, 40)}, this program reads {VERSION}: start a new "
            "run, or continue it with the release of Rebar that began it"
        )
    if not has_digest:
        raise unreadable
    return content


def _check_sizes(data: bytes) -> None:
    """The records of the archive lie in it as they are: none claims more than is there."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ValueError("a record is compressed, which torch does not do")
    check_stored("the records", sum(record.file_size for record in records), len(data))


def check_origin(content: dict[str, Any], config: Config, digest: str) -> None:
    """Refuse a loaded checkpoint of another run than the one that these settings and data describe.

    Args:
        config: the settings, what depends on machine and data resolved.
        digest: of the data (`training.data.manifest.data_digest`).

    Raises:
        ValueError: the checkpoint was made with other settings, other data or another core-set; says which.
    """
    name = "the checkpoint"
    check_config(entry(content, "config", dict, name), config)
    saved_data, _, saved_coreset = entry(content, "data", str, name).partition("/")
    data, _, coreset = digest.partition("/")
    if saved_data != data:
        raise ValueError(f"the checkpoint was made on other data than {config.data} holds: point --data to that data")
    if saved_coreset != coreset:
        raise ValueError(
            f"{config.coreset} is another core-set than the checkpoint's: bring that back, or start a new run"
        )


def restore(content: dict[str, Any], run: Run) -> None:
    """Put a loaded checkpoint into a run that stands at its beginning.

    Raises:
        ValueError: the checkpoint is of another run (`check_origin`), or a value is missing or of another kind; the
            sentence names it.
    """
    check_origin(content, run.config, run.data.digest)
    try:
        check_state(content, run)
        run.model.load_state_dict(content["model"])
        for optimizer, saved in zip(run.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        run.scaler.load_state_dict(content["scaler"])
        if run.average is not None:
            run.average.load_state_dict(content["average"])
        run.table.load_state_dict(content["table"])
        run.ledger.load_state_dict(content["ledger"])
        run.method.load_state_dict(content["method"])
        run.loss_sum.copy_(content["loss_sum"])
        if not run.ranks.is_writer:
            run.table.clear_epoch()
            run.loss_sum.zero_()
            run.method.forget_sums()
        run.epoch, run.batch, run.trained = content["epoch"], content["batch"], content["trained"]
        run.plan = None if content["plan"] is None else _plan(content["plan"])
    except Exception as error:  # noqa: BLE001 - torch raises anything on values of another kind
        reason = one_line(error) or type(error).__name__
        raise ValueError(f"the checkpoint does not fit this program ({reason}): start a new run") from None


def check_config(saved: dict[str, Any], config: Config) -> None:
    """Refuse to continue under settings that would change the result.

    Raises:
        ValueError: names each key with both values.
    """
    if not all(isinstance(key, str) and is_plain(value) for key, value in saved.items()):
        raise ValueError("the checkpoint holds settings that are no plain values: start a new run")
    added = {name: value for name, value in Config().as_dict().items() if name in _ADDED}
    saved, mine = ({**added, **values, "device": _kind(values.get("device"))} for values in (saved, config.as_dict()))
    keys = [key for key in sorted({*saved, *mine} - {*NEUTRAL_KEYS}) if saved.get(key) != mine.get(key)]
    if keys:
        changes = ", ".join(
            f"{key!s:.40} was {saved.get(key)!r:.200} and is now {mine.get(key)!r:.200}" for key in keys
        )
        raise ValueError(f"a resumed run must keep its settings, but {changes}: leave them out, or start a new run")


def other_processes(content: dict[str, Any], ranks: Ranks) -> list[str]:
    """A sentence where the number of ranks or threads is not the checkpoint's: how close the result will be."""
    saved, mine, settings = content.get("processes", _processes(ranks)), _processes(ranks), content["config"]
    if saved == mine:
        return []
    before, now = ("{} ranks x {} threads".format(*processes) for processes in (saved, mine))
    near = "plan and scores stay the same, weights will differ by the order of float sums"
    if saved[0] != mine[0] and settings.get("method") in PER_RANK:
        near = f"the result will be another, since {settings['method']} chooses within each rank's part of a batch"
    elif saved[0] != mine[0] and settings.get("mixer") != "none":
        near = "the result will be another, since images are mixed within each rank's part of a batch"
    return [f"the checkpoint is of {before}, this is {now}: {near}"]


def _kind(device: Any) -> Any:
    """A device without its number: another GPU may go on, and several ranks have one each."""
    return device.partition(":")[0] if isinstance(device, str) else device


def _processes(ranks: Ranks) -> list[int]:
    return [ranks.world_size, torch.get_num_threads()]


def _plan_dict(plan: EpochPlan) -> dict[str, Any]:
    weights = None if plan.weights is None else torch.from_numpy(np.array(plan.weights))
    keys = {"key": plan.key, "run_key": plan.run_key}
    return {"ids": torch.from_numpy(np.array(plan.ids)), "weights": weights, "epoch": plan.epoch, **keys}


def _plan(saved: dict[str, Any]) -> EpochPlan:
    weights = None if saved["weights"] is None else saved["weights"].numpy()
    run_key = saved.get("run_key", 0)  # the first checkpoints of this version have none, and nothing that reads it
    return EpochPlan(saved["ids"].numpy(), weights, saved["epoch"], saved["key"], run_key=run_key)
