"""The importance table: what training has seen of each sample, kept on the training device.

The only mutable object of the ring. Recording is one scatter without a host synchronisation; a snapshot is one copy per
epoch. Knows no policy and no model.
"""

import numpy as np
import torch
import torch.distributed as dist

from loaders.types import Mix, Scores, Snapshot

FIELDS = ("share", *Scores._fields, "squared_error")


class ImportanceTable:
    """Sums of shares and scores per sample: of all epochs, of the running epoch, and the means of the latest visit.

    Args:
        num_samples: N.
        device: where the scores are produced.
        decay: of the moving average of the error: what is left of it when a new epoch's error comes in.
    """

    def __init__(self, num_samples: int, device: str | torch.device = "cpu", decay: float = 0.9):
        if num_samples < 1:
            raise ValueError(f"an importance table needs at least one sample, got {num_samples}")
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average is at least 0 and below 1, got {decay}")
        self.num_samples, self.decay = num_samples, decay
        width = len(FIELDS)
        self._total = torch.zeros(num_samples, width, device=device)
        self._epoch = torch.zeros(num_samples, width, device=device)
        self._latest = torch.zeros(num_samples, len(Scores._fields), device=device)
        self._average = torch.zeros(num_samples, device=device)

    @torch.no_grad()
    def record(self, ids: torch.Tensor, scores: Scores, shares: torch.Tensor | None = None) -> None:
        """Add one batch; a device scatter, no host synchronisation.

        Args:
            ids: int64 [B]; a repeated id adds up.
            scores: float [B] each.
            shares: float [B], the part of the image that shows this sample (mixed batches); None is one.
        """
        values = torch.stack([torch.ones_like(scores.error), *scores, scores.error.square()], dim=1).float()
        if shares is not None:
            values = values * shares.unsqueeze(1)
        self._epoch.index_add_(0, ids, values)

    def record_mixed(self, ids: torch.Tensor, mix: Mix, scores: Scores) -> None:
        """Credit the partners of a mixed batch by their shares; `scores` are float [B, P], one per partner."""
        shares = mix.shares.expand_as(scores.error).reshape(-1)
        ids = ids if mix.partners is None else ids[mix.partners]
        self.record(ids.reshape(-1), Scores(*(score.reshape(-1) for score in scores)), shares)

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        """Close the epoch and copy the table to the host; in a process group, first merge the ranks by one all_reduce.

        All ranks must call it together; all receive the same values.
        """
        if place_among_ranks()[1] > 1:
            dist.all_reduce(self._epoch)
        share = self._epoch[:, :1]
        self._latest = torch.where(share > 0, self._epoch[:, 1:-1] / share, self._latest)
        error = self._latest[:, 0]
        moved = torch.where(self._total[:, 0] > 0, torch.lerp(error, self._average, self.decay), error)
        self._average = torch.where(share[:, 0] > 0, moved, self._average)
        self._total += self._epoch
        self._epoch.zero_()
        visits, sums, squares = self._total[:, 0], self._total[:, 1], self._total[:, -1]
        mean = torch.where(visits > 0, sums / visits, 0.0)
        variance = torch.where(visits > 0, squares / visits - mean.square(), 0.0).clamp_min(0)
        columns = [visits, mean, *self._latest.unbind(1), variance, self._average]
        host = torch.stack(columns).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(host).all(axis=0))
        if len(bad):
            raise ValueError(
                f"the scores of {len(bad)} samples are not finite (first: sample {bad[0]}); "
                "training has diverged: lower the learning rate, or look at these samples"
            )
        return Snapshot(*host)

    @torch.no_grad()
    def gather(self) -> None:
        """Move the ranks' sums of the running epoch to rank 0, whose state is then that of all; for a checkpoint.

        All ranks must call it together. What they record afterwards adds up as before.
        """
        if place_among_ranks()[1] > 1:
            dist.all_reduce(self._epoch)
            if dist.get_rank():
                self.clear_epoch()

    def clear_epoch(self) -> None:
        """Forget what was recorded since the last snapshot."""
        self._epoch.zero_()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that a resumed run needs, in the middle of an epoch too."""
        return {"total": self._total, "epoch": self._epoch, "latest": self._latest, "average": self._average}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name, mine in self.state_dict().items():
            if name not in state or state[name].shape != mine.shape:
                got = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(f"importance table: expected {name!r} of shape {tuple(mine.shape)}, got {got}")
            mine.copy_(state[name])


def place_among_ranks() -> tuple[int, int]:
    """Rank and number of ranks of the process group that tables merge over; 0, 1 without one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
