"""The state of a run, and its way to disk and back: whole or not at all, and without pickled code.

Knows what a continued run needs to end in the same bits; must not know how training works.
"""

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from loaders.formats.atomic import atomic_path
from loaders.importance import ImportanceTable
from loaders.types import EpochPlan
from training.config import NEUTRAL_KEYS, Config
from training.ledger import Ledger
from training.machine.distributed import Ranks
from training.methods.batch_memory import Memory

FORMAT, VERSION = "rebar checkpoint", 6


@dataclass
class State:
    """All that changes while a run goes on.

    Attributes:
        network: what a step calls: the model, or what distributes it over ranks; shares the model's parameters.
        optimizers: stepped in this order; each parameter belongs to one.
        scaler: of the loss, for fp16; None otherwise.
        average: running average of the model's weights, or None.
        memory: what a method that chooses within a batch remembers; None for the others.
        epoch, batch: the position: `batch` batches of epoch `epoch` are done, each a step unless the method chooses.
        plan: the order of the running epoch; None between epochs, when the table has not been asked for it yet.
        loss_sum: float64 scalar on the device, summed loss of the running epoch's samples, those of this rank.
        trained: number of the running epoch's samples, those of all ranks.
    """

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    table: ImportanceTable
    ledger: Ledger
    scaler: torch.amp.GradScaler | None = None
    average: nn.Module | None = None
    network: nn.Module | None = None
    memory: Memory | None = None
    epoch: int = 0
    batch: int = 0
    plan: EpochPlan | None = None
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    trained: int = 0

    def __post_init__(self):
        if self.network is None:
            self.network = self.model


def save(path: Path, state: State, config: Config, data_digest: str, ranks: Ranks = Ranks()) -> None:  # noqa: B008
    """Write the state by atomic rename: whatever ends the process, `path` is a whole checkpoint, the old or the new.

    All ranks call it; rank 0 takes over what the others have summed in the running epoch, and writes.

    The plan of a running epoch is kept as its ids, since the scores that it was drawn from are gone by then; between
    epochs it is drawn again from the table.
    """
    state.table.gather()
    ranks.reduce_to_writer(state.loss_sum)
    if state.memory is not None:
        state.memory.settle(state.ledger, ranks)
    with ranks.together():
        if ranks.is_writer:
            _write(path, state, config, data_digest, ranks)


def _write(path: Path, state: State, config: Config, data_digest: str, ranks: Ranks) -> None:
    plan = state.plan
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": config.as_dict(),
        "data": data_digest,
        "processes": _processes(ranks),
        "model": state.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "scaler": None if state.scaler is None else state.scaler.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "table": state.table.state_dict(),
        "ledger": state.ledger.state_dict(),
        "memory": None if state.memory is None else state.memory.state_dict(),
        "epoch": state.epoch,
        "batch": state.batch,
        "plan": None if plan is None else _plan_dict(plan),
        "loss_sum": state.loss_sum,
        "trained": state.trained,
    }
    whole = io.BytesIO()  # torch's own file errors say nothing of a full disk
    torch.save(content, whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())


def load(path: Path, data: bytes | None = None) -> dict:
    """Read a checkpoint without running any code from it.

    Args:
        data: the file's bytes where they have been read already, on another machine perhaps.

    Raises:
        ValueError: the file is missing, cut short, or no checkpoint of this version.
    """
    try:
        content = torch.load(path if data is None else io.BytesIO(data), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {path}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, OSError, AttributeError):
        raise ValueError(
            f"{path} cannot be read as a checkpoint (cut short, damaged, or another kind of file): "
            "delete it and start the run again, or give --resume another one"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this program: give --resume the folder of one of its runs")
    if content.get("version") != VERSION:
        raise ValueError(f"{path} has version {content.get('version')}, this code reads {VERSION}: start a new run")
    return content


def restore(content: dict, state: State, config: Config, data_digest: str, is_writer: bool = True) -> None:
    """Put a loaded checkpoint into a freshly built state.

    Args:
        is_writer: whether this is rank 0, which alone goes on with the sums of the running epoch.

    Raises:
        ValueError: the run to continue was made with other settings or other data; the sentence names the keys.
    """
    check_config(content["config"], config)
    (saved_data, _, saved_coreset), (data, _, coreset) = content["data"].partition("/"), data_digest.partition("/")
    if saved_data != data:
        raise ValueError(f"the checkpoint was made on other data than {config.data} holds: point --data to that data")
    if saved_coreset != coreset:
        raise ValueError(
            f"{config.coreset} is another core-set than the checkpoint's: bring that back, or start a new run"
        )
    plan = content["plan"]
    try:
        state.model.load_state_dict(content["model"])
        for optimizer, saved in zip(state.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if state.scaler is not None:
            state.scaler.load_state_dict(content["scaler"])
        if state.average is not None:
            state.average.load_state_dict(content["average"])
        state.table.load_state_dict(content["table"])
        state.ledger.load_state_dict(content["ledger"])
        if state.memory is not None:
            state.memory.load_state_dict(content["memory"])
        state.loss_sum.copy_(content["loss_sum"])
        if not is_writer:
            state.table.clear_epoch()
            state.loss_sum.zero_()
            if state.memory is not None:
                state.memory.hits.zero_()
        state.epoch, state.batch, state.trained = content["epoch"], content["batch"], content["trained"]
        state.plan = None if plan is None else _plan(plan)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the checkpoint does not fit this program ({reason}): start a new run") from None


def check_config(saved: dict, config: Config) -> None:
    """Refuse to continue under settings that would change the result.

    Raises:
        ValueError: names each key with both values.
    """
    mine = config.as_dict()
    saved = {**Config().as_dict(), **saved}  # what a setting that is newer than the run does by default, it did
    keys = [key for key in sorted({*saved, *mine} - {*NEUTRAL_KEYS}) if saved.get(key) != mine.get(key)]
    if keys:
        changes = ", ".join(f"{key} was {saved.get(key)!r} and is now {mine.get(key)!r}" for key in keys)
        raise ValueError(f"a resumed run must keep its settings, but {changes}: leave them out, or start a new run")


def other_processes(content: dict, ranks: Ranks) -> list[str]:
    """A sentence where other ranks or threads than those of the checkpoint continue it: that is not to the bit."""
    saved, mine = content.get("processes", _processes(ranks)), _processes(ranks)
    if saved == mine:
        return []
    before, now = ("{} ranks x {} threads".format(*processes) for processes in (saved, mine))
    return [f"the checkpoint is of {before}, this is {now}: the result will not be the same to the bit"]


def _processes(ranks: Ranks) -> list[int]:
    return [ranks.world_size, torch.get_num_threads()]


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process was still writing (names of the form `.<file>.<process>.tmp`)."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _plan_dict(plan: EpochPlan) -> dict:
    weights = None if plan.weights is None else torch.from_numpy(plan.weights.copy())
    return {"ids": torch.from_numpy(plan.ids.copy()), "weights": weights, "epoch": plan.epoch, "key": plan.key}


def _plan(saved: dict) -> EpochPlan:
    weights = None if saved["weights"] is None else saved["weights"].numpy()
    return EpochPlan(saved["ids"].numpy(), weights, saved["epoch"], saved["key"])
