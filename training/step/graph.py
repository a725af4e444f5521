"""Record the step as a CUDA graph for each kind of batch: the host copies a batch into place and launches once.

A step of a small network is about a thousand kernels, and to launch them one by one takes longer than to run them. A
graph repeats what was recorded, at the same addresses: so it reads the batch, the learning rates and the part by which
the average moves from tensors of its own, and all that a step changes stays where it is. What is recorded is
`training.step.step.step`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from loaders.formats.sentence import one_line
from loaders.types import Batch, EpochPlan, Mix
from training.methods.base import Method
from training.step.step import step

if TYPE_CHECKING:
    from training.state import Run

_WARM_UPS = 3
"""Steps before the recording, which choose kernels, make the momenta and compile; they are undone."""
_LOOKS = 200
"""Number of points of a run at which the schedule is asked for the kind of a step."""


class StepGraph(NamedTuple):
    """A recorded step.

    Attributes:
        batch: what it reads; its weights are ones where a batch has none.
        numbers: float32 scalars on the device: the rate of each group of the optimisers, and the average's part.
        launch: repeats it.
    """

    batch: Batch
    numbers: list[Tensor]
    launch: Callable[[], None]


def obstacle(run: Run) -> str | None:
    """Why the steps of a run cannot be graphs, as the rest of a sentence; None where they can."""
    kind = type(run.method)
    if not run.ranks.is_alone:
        return "several ranks train together"
    if run.precision.name == "fp16":
        return "fp16 lets the host decide about each step (choose bf16)"
    if kind.select is not Method.select or kind.keep is not Method.keep:
        return f"{run.config.method} chooses within batches"
    if run.draws:
        return f"{run.config.model} draws at random in a step"
    return None


def prepare(run: Run) -> None:
    """Record a graph for each kind of step that the run will make, ahead of its clock; the run stays as it is.

    Raises:
        ValueError: a step does what a graph cannot.
    """
    run.graphs = {}
    run.network.train()
    points = [look / _LOOKS for look in range(_LOOKS)]
    kinds = {run.schedule.is_clean(at): set[int | None]() for at in points}
    for at in points:
        kinds[run.schedule.is_clean(at)].add(run.schedule.image_size(at))
    plan = EpochPlan(np.arange(run.batch_size) % run.data.num_samples)
    for is_clean, sizes in kinds.items():
        loader = run.data.clean_loader if is_clean else run.data.train_loader
        with closing(loader.epoch(plan)) as batches:
            batch = next(batches)
        for size in sizes:
            run.graphs[_kind(batch, size)] = capture(run, batch, size)


def graph_step(run: Run, batch: Batch, size: int | None, part: float) -> int:
    """`step` as a graph, recorded now where it is the first of its kind; nothing is waited for."""
    assert run.graphs is not None, "the run has no graphs"
    kind = _kind(batch, size)
    if kind not in run.graphs:
        run.graphs[kind] = capture(run, batch, size)
    graph = run.graphs[kind]
    _fill(graph, batch, [*(group["lr"] for group in _groups(run)), part])
    graph.launch()
    return len(batch.images)


def capture(run: Run, batch: Batch, size: int | None) -> StepGraph:
    """Record the step on batches like this one. On a CPU nothing is recorded, and `launch` runs the step.

    Raises:
        ValueError: the step does what a graph cannot, such as reading a value back.
    """
    numbers = [torch.zeros((), device=run.device) for _ in (*_groups(run), "part")]
    images, labels, ids, *mixed = (part.clone() for part in _parts(batch))
    weights = torch.ones(len(images), device=run.device)
    static = Batch(images, labels, ids, weights, Mix(*mixed) if mixed else None)

    def body() -> None:
        with _rates_from(numbers[:-1], _groups(run)):
            step(run, static, size, numbers[-1])

    try:
        with _undone(run):
            return StepGraph(static, numbers, _recorded(body, run.device))
    except RuntimeError as error:
        raise ValueError(
            f"the step of {run.config.model} cannot be recorded as a graph ({one_line(error, 300)}): leave --graph out"
        ) from error


def _recorded(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
    if device.type != "cuda":
        body()
        return body
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            body()
    current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with (
        torch.cuda.stream(current),  # which a recording that fails would not make the current stream again
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),  # a loader's threads may allocate
    ):
        body()
    return graph.replay


@contextmanager
def _undone(run: Run) -> Iterator[None]:
    """What steps in the block change is put back behind it, in place: graphs know addresses."""
    before = {id(mine): mine.detach().clone() for mine in _changed_by_steps(run)}
    yield
    with torch.no_grad():
        for mine in _changed_by_steps(run):
            mine.copy_(before.get(id(mine), torch.zeros_like(mine)))  # a momentum that began in the block is zero


def _changed_by_steps(run: Run) -> list[Tensor]:
    modules = [run.model] if run.average is None else [run.model, run.average.module]
    weights = [value for module in modules for value in (*module.parameters(), *module.buffers())]
    states = [state for optimizer in run.optimizers for state in optimizer.state.values()]
    momenta = [value for state in states for value in state.values() if isinstance(value, Tensor)]
    return [*weights, *momenta, *run.table.sums().values(), run.loss_sum]


@contextmanager
def _rates_from(rates: Sequence[Tensor], groups: Sequence[dict[str, Any]]) -> Iterator[None]:
    """In the block, optimisers read their rates on the device; torch's SGD can in its fused form alone."""
    before = [{**group} for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group.update(lr=rate, **({"fused": True} if "fused" in group else {}))
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)


def _groups(run: Run) -> list[dict[str, Any]]:
    return [group for optimizer in run.optimizers for group in optimizer.param_groups]


def _kind(batch: Batch, size: int | None) -> Hashable:
    """Batches of one kind can be copied into each other."""
    return size, *((part.shape, part.dtype) for part in _parts(batch))


def _parts(batch: Batch) -> list[Tensor]:
    """All tensors of a batch but its weights, which it may lack."""
    images, labels, ids, _, mix = batch
    mixed = [] if mix is None or mix.partners is None else [mix.partners, mix.shares]
    return [images, labels, ids, *mixed]


def _fill(graph: StepGraph, batch: Batch, numbers: Sequence[float]) -> None:
    """Put a batch and the host's numbers where the graph reads them, without a wait."""
    weights = graph.batch.weights
    assert weights is not None
    for mine, given in zip(_parts(graph.batch), _parts(batch), strict=True):
        mine.copy_(given)
    weights.fill_(1) if batch.weights is None else weights.copy_(batch.weights)
    for mine, number in zip(graph.numbers, numbers, strict=True):
        mine.fill_(number)
