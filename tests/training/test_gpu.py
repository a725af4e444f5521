"""On a GPU the host queues a whole epoch, loader and steps, and waits for nothing; the same lines run on a CPU."""

import contextlib
import warnings

import pytest
import torch

from tests.no_waiting import no_waiting
from training.arguments import make_config
from training.loop import end_epoch, plan_epoch, train_epoch
from training.setup import set_up

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


def test_the_notice_of_torchs_mode_is_no_error(monkeypatch):
    """It comes once a process; as an error, it would leave the mode on for all tests that follow."""
    modes = []

    def set_mode(mode: str) -> None:
        modes.append(mode)
        if mode == "error":
            warnings.warn("Synchronization debug mode is a prototype feature and does not yet detect all", stacklevel=2)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with pytest.raises(ValueError, match="in the block"), no_waiting():
        raise ValueError("in the block")
    assert modes == ["error", "default"]


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [("muon", {}), ("sgd", {"mixer": "ricap", "ema": 0.9}), ("muon", {"randaugment": (1, 5), "mixer": "mixup"})],
    ids=["images on the GPU", "mixed", "images on the host"],
)
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_an_epoch_waits_for_nothing(shapes, device, optimizer, changes):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    sizes = {"width": 0.5, "budget": 0.25, "epochs": 2, "batch_size": 50}
    network = {"model": "resnet8", "optimizer": optimizer}
    run = set_up(make_config({"data": str(shapes), "device": device, "method": "p-sgd", **network, **sizes, **changes}))
    for epoch in range(2):  # what the first compiles and allocates, the second finds
        plan_epoch(run)
        with no_waiting(device) if epoch else contextlib.nullcontext():
            for _ in train_epoch(run):
                pass
        assert torch.isfinite(run.loss_sum)
        end_epoch(run)
        run.next_epoch()
    assert run.is_over
    assert run.ledger.samples == 300
    assert run.scores.visits.sum() == pytest.approx(300, rel=1e-5)
