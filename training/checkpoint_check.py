"""Whether the values of a checkpoint are of the kind that a run has: the shapes of tensors, the types of the rest."""

from typing import Any

import torch
from torch import Tensor

from loaders.formats.json_file import entry
from loaders.formats.sentence import one_line
from training.state import Run


def check_state(content: dict[str, Any], run: Run) -> None:
    """Compare a loaded checkpoint with a run that stands at its beginning.

    Raises:
        ValueError: names the value that is missing or of another kind.
    """
    name = "it"
    table = run.table.state_dict() if "recorded" in entry(content, "table", dict, name) else run.table.sums()
    parts = {
        "model": run.model.state_dict(),
        "scaler": run.scaler.state_dict(),
        "average": None if run.average is None else run.average.state_dict(),
        "table": table,  # earlier checkpoints do not tell what is recorded
        "ledger": run.ledger.state_dict(),
        "loss_sum": run.loss_sum,
    }
    for part, mine in parts.items():
        check_like(mine, content[part], part)
    for key in ("epoch", "batch", "trained"):
        if entry(content, key, int, name) < 0:
            raise ValueError(f"{key} is negative")
    saved = entry(content, "optimizers", list, name)
    for number, (optimizer, state) in enumerate(zip(run.optimizers, saved, strict=True)):
        _check_optimizer(optimizer, state, f"optimizers[{number}]")
    if content["plan"] is not None:
        _check_plan(content["plan"], run.data.num_samples)


def is_plain(value: Any) -> bool:
    """Whether it is None, a number, a text, or a list of those."""
    if isinstance(value, list):
        return all(is_plain(item) and not isinstance(item, list) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def check_like(mine: Any, saved: Any, where: str) -> None:
    """Refuse a value that differs from the run's own in shape or type.

    Args:
        mine: tensors, numbers, dictionaries and lists of them; None where the run has no such value.
        where: names the value.

    Raises:
        ValueError: names what differs.
    """
    if isinstance(mine, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != mine.shape or saved.dtype != mine.dtype:
            raise ValueError(f"{where} is {kind_of(saved)}, needed: {kind_of(mine)}")
        if saved.layout != torch.strided or saved.device.type != "cpu":
            raise ValueError(f"{where} is {saved.layout} on {saved.device}, needed: a dense tensor")
    elif isinstance(mine, dict):
        if not isinstance(saved, dict) or saved.keys() != mine.keys():
            other = saved.keys() ^ mine.keys() if isinstance(saved, dict) else [kind_of(saved)]
            raise ValueError(f"{where} has other keys than this run's: {one_line(sorted(map(str, other)), 100)}")
        for key, value in mine.items():
            check_like(value, saved[key], f"{where}.{key}")
    elif isinstance(mine, list):
        if not isinstance(saved, list) or len(saved) != len(mine):
            raise ValueError(f"{where} is {kind_of(saved)}, needed: a list of {len(mine)}")
        for number, value in enumerate(mine):
            check_like(value, saved[number], f"{where}[{number}]")
    elif isinstance(mine, float):
        if isinstance(saved, bool) or not isinstance(saved, int | float):
            raise ValueError(f"{where} is {kind_of(saved)}, needed: a number")
    elif type(saved) is not type(mine):
        raise ValueError(f"{where} is {kind_of(saved)}, needed: {kind_of(mine)}")


def kind_of(value: Any) -> str:
    """The kind of a value, for an error."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {[*value.shape]}"
    return type(value).__name__


def _check_optimizer(optimizer: torch.optim.Optimizer, saved: Any, where: str) -> None:
    """The state of each parameter has the parameter's shape, or is one number."""
    mine = optimizer.state_dict()
    check_like(mine["param_groups"], entry(saved, "param_groups", list, where), f"{where}.param_groups")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, state in entry(saved, "state", dict, where).items():
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            raise ValueError(f"{where}.state is of a parameter that is not there: {one_line(number, 40)}")
        for name, value in state.items():
            shape = parameters[number].shape
            if isinstance(value, Tensor) and value.ndim:
                check_like(torch.empty(shape, dtype=parameters[number].dtype), value, f"{where}.state[{number}].{name}")
            elif value is not None and not isinstance(value, Tensor | int | float):
                raise ValueError(f"{where}.state[{number}].{name} is {kind_of(value)}, needed: a tensor {[*shape]}")


def _check_plan(saved: Any, num_samples: int) -> None:
    ids, weights = saved["ids"], saved["weights"]
    is_vector = isinstance(ids, Tensor) and ids.dtype == torch.int64 and ids.ndim == 1 and len(ids) > 0
    if not is_vector or ids.min() < 0 or ids.max() >= num_samples:
        raise ValueError(f"plan.ids is {kind_of(ids)}, needed: int64 [K], each from 0 to {num_samples - 1}")
    if weights is not None:
        check_like(torch.empty(len(ids)), weights, "plan.weights")
    keys = entry(saved, "key", int, "plan"), entry({"run_key": 0, **saved}, "run_key", int, "plan")
    if entry(saved, "epoch", int, "plan") < 0 or not all(0 <= key < 1 << 64 for key in keys):
        raise ValueError("plan has an epoch or a key that is out of range")
