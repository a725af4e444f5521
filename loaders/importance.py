"""The importance table: the scores that training has recorded of each sample, kept on the training device."""

import numpy as np
import torch
import torch.distributed as dist

from .types import Mix, Scores, Snapshot

# Sums of the running epoch: visits, the error's deviation from the mean of the epochs before, loss, el2n, and the
# squared deviation. Deviations, since a variance as E[x^2] - E[x]^2 in float32 is noise where errors hardly vary.
_EPOCH_COLUMNS = 5
# The score that each field of a snapshot is made of.
_SOURCE = {
    "mean_error": "error",
    "error": "error",
    "loss": "loss",
    "el2n": "el2n",
    "error_variance": "error",
    "error_average": "error",
}


class ImportanceTable:
    """Records the scores of samples batch by batch, and summarises them once per epoch.

    To record a batch is one scatter on the device, without a host synchronisation. A snapshot is one copy to the host.
    The table keeps sums of visits and scores, so repeats in a batch add up and ranks merge by one all-reduce.

    Args:
        num_samples: N.
        device: where the scores are produced.
        decay: of the moving average of the error, per epoch with a visit: average = decay * average + (1 - decay) *
            error.

    Raises:
        ValueError: `num_samples` is below one, or `decay` not in [0, 1).
    """

    def __init__(self, num_samples: int, device: str | torch.device = "cpu", decay: float = 0.9) -> None:
        if num_samples < 1:
            raise ValueError(f"an importance table needs at least one sample, got {num_samples}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay is at least 0 and below 1, got {decay}")
        self.num_samples, self.decay = num_samples, decay
        # Up to the last snapshot: visits, mean error, sum of squared deviations from that mean.
        self._total = torch.zeros(num_samples, 3, device=device)
        self._epoch = torch.zeros(num_samples, _EPOCH_COLUMNS, device=device)  # since then
        self._latest = torch.zeros(num_samples, len(Scores._fields), device=device)
        self._average = torch.zeros(num_samples, device=device)
        self._missing: frozenset[str] | None = None  # the scores that are not recorded, once it is known

    @property
    def visits(self) -> torch.Tensor:
        """How often each sample was visited up to the last snapshot: float32 [N], a copy."""
        return self._total[:, 0].clone()

    @torch.no_grad()
    def record(self, ids: torch.Tensor, scores: Scores, shares: torch.Tensor | None = None) -> None:
        """Add the scores of one batch.

        Args:
            ids: int64 [B]; an id that occurs twice counts twice.
            scores: float [B] each; the same of the three in every batch.
            shares: float [B], the fraction of the image that shows this sample (mixed batches); None is all of it.

        Raises:
            ValueError: no score is given, others than in the batches before, or not one for each id; or an id is not in
                0..N-1. On a GPU nothing waits to see such an id: there torch's assertion fails.
        """
        if ids.ndim != 1 or ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"ids of a batch are int64 [B], got {ids.dtype} of shape {tuple(ids.shape)}: record mixed batches with "
                "record_mixed"
            )
        whole = self._whole(ids, scores)
        try:
            self._add(ids, whole, shares, has_error=scores.error is not None)
        except (IndexError, RuntimeError) as failure:  # looked for afterwards only: a look would wait for the device
            if ids.device.type != "cpu" or 0 <= int(ids.min()) <= int(ids.max()) < self.num_samples:
                raise
            raise ValueError(
                f"the ids of this batch go from {int(ids.min())} to {int(ids.max())}, and the table is of the samples "
                f"0 to {self.num_samples - 1}: make it with ImportanceTable(len(dataset))"
            ) from failure

    def _add(self, ids: torch.Tensor, scores: Scores, shares: torch.Tensor | None, has_error: bool) -> None:
        error, loss, el2n = scores
        means = self._total[:, 1].index_select(0, ids)  # fails where an id is not in the table, before anything changes
        # A score that is not recorded keeps its columns at zero, whatever the table was loaded from.
        deviation = error - means if has_error else torch.zeros_like(error)
        values = torch.stack([torch.ones_like(deviation), deviation, loss, el2n, deviation.square()], dim=1).float()
        if shares is not None:
            values = values * shares.unsqueeze(1)
        self._epoch.index_add_(0, ids, values)

    def _whole(self, ids: torch.Tensor, scores: Scores) -> Scores:
        """The scores, zeros in place of those that are not given."""
        given = {name: score for name, score in scores._asdict().items() if score is not None}
        missing = frozenset(Scores._fields) - given.keys()
        if not given:
            raise ValueError(
                "a batch needs at least one score: use loaders.scores(logits, labels), or Scores(loss=...)"
            )
        if self._missing not in (None, missing):
            before = sorted(frozenset(Scores._fields) - self._missing)
            raise ValueError(
                f"the batches before gave {before}, this one {sorted(given)}: give the same of every batch"
            )
        for name, score in given.items():
            if score.shape != ids.shape:
                raise ValueError(
                    f"{tuple(ids.shape)} ids and {name} of shape {tuple(score.shape)}: give one score for each id "
                    "(a loss without its mean: reduction='none')"
                )
        self._missing = missing
        zeros = torch.zeros_like(next(iter(given.values()))) if missing else None
        return Scores(**{name: given.get(name, zeros) for name in Scores._fields})

    def record_mixed(self, ids: torch.Tensor, mix: Mix, scores: Scores) -> None:
        """Add the scores of a mixed batch: to each partner, weighted by the fraction of the image that it takes.

        Args:
            ids: int64 [B], or [B, P] if the images have left their batch (`mix.partners` is None).
            mix: how the images were mixed.
            scores: float [B, P] each, one per partner.
        """
        ids = ids if mix.partners is None else ids[mix.partners]
        shares = mix.shares.expand_as(ids).reshape(-1)
        flat = Scores(*(None if score is None else score.reshape(-1) for score in scores))  # pyright: ignore[reportArgumentType]
        self.record(ids.reshape(-1), flat, shares)

    @torch.no_grad()
    def snapshot(self, merge: bool = True) -> Snapshot:
        """Close the epoch and copy the summary of all samples to the host.

        In a process group the ranks' records are summed first, by one all-reduce: all ranks must call it together, and
        all receive the same values.

        Args:
            merge: False asks no other rank: for ranks that each go through the whole data by themselves.

        Raises:
            ValueError: a score is not finite. The table is then as it was before, on every rank.
        """
        recorded = self._epoch
        if merge and place_among_ranks()[1] > 1:
            recorded = recorded.clone()
            dist.all_reduce(recorded)
        visits, deviation, loss, el2n, squares = recorded.unbind(1)
        seen, count = visits > 0, visits.clamp_min(1e-30)
        before, mean, spread = self._total.unbind(1)
        shift = deviation / count  # of this epoch's mean against that of the epochs before
        latest = torch.stack([mean + shift, loss / count, el2n / count], dim=1)
        latest = torch.where(seen[:, None], latest, self._latest)
        error = latest[:, 0]
        moved = torch.where(before > 0, torch.lerp(error, self._average, self.decay), error)
        average = torch.where(seen, moved, self._average)
        # Means and squared deviations of two groups become those of both (Chan, Golub and LeVeque 1979).
        together = before + visits
        spread = (
            spread + (squares - deviation * shift).clamp_min(0) + shift.square() * before * visits / (before + count)
        )
        total = torch.stack([together, mean + shift * visits / (before + count), spread], dim=1)
        total = torch.where(seen[:, None], total, self._total)
        visits, mean, spread = total.unbind(1)
        variance = spread / visits.clamp_min(1e-30)
        host = torch.stack([visits, mean, *latest.unbind(1), variance, average]).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(host).all(axis=0))
        if len(bad):
            raise ValueError(
                f"the scores of {len(bad)} samples are not finite (first: sample {bad[0]}); training has diverged: "
                "lower the learning rate, or look at these samples; clear_epoch() discards what was recorded since the "
                "last snapshot"
            )
        for mine, new in ((self._total, total), (self._latest, latest), (self._average, average)):
            mine.copy_(new)  # in place: CUDA graphs know addresses
        self._epoch.zero_()
        nan, missing = np.full_like(host[0], np.nan), self._missing or ()
        host.flags.writeable = nan.flags.writeable = False  # a policy that wrote here would change what is saved
        snapshot = Snapshot(*host)
        return snapshot._replace(**{field: nan for field, source in _SOURCE.items() if source in missing})

    @torch.no_grad()
    def gather(self) -> None:
        """Move what all ranks recorded in the running epoch to rank 0, so that its `state_dict` is that of the run.

        All ranks must call it together. What they record afterwards adds up as before.
        """
        if place_among_ranks()[1] > 1:
            dist.all_reduce(self._epoch)
            if dist.get_rank():
                self.clear_epoch()

    def clear_epoch(self) -> None:
        """Discard what was recorded since the last snapshot, such as scores that it refused."""
        self._epoch.zero_()

    def sums(self) -> dict[str, torch.Tensor]:
        """The tensors on the device that batches and snapshots change in place; they are those of the table."""
        return {"total": self._total, "epoch": self._epoch, "latest": self._latest, "average": self._average}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that a resumed run needs, also in the middle of an epoch; the tensors are those of the table.

        `recorded`, bool [3] on the CPU, tells which of the three scores are recorded; none before the first batch.
        """
        recorded = [self._missing is not None and name not in self._missing for name in Scores._fields]
        return {**self.sums(), "recorded": torch.tensor(recorded)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from the `state_dict` of a table with as many samples; one of version 0.1 has no `recorded`.

        Raises:
            ValueError: a tensor is missing or has another shape.
        """
        state = {"recorded": torch.zeros(len(Scores._fields), dtype=torch.bool), **state}
        for name, mine in self.state_dict().items():  # all are checked before the first changes
            if name not in state or state[name].shape != mine.shape:
                got = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(
                    f"the state of an importance table needs {name!r} of shape {tuple(mine.shape)}, got {got}: was it "
                    "saved from a run with another number of samples?"
                )
        for name, mine in self.sums().items():
            mine.copy_(state[name])
        recorded = {name for name, is_there in zip(Scores._fields, state["recorded"].tolist(), strict=True) if is_there}
        self._missing = frozenset(Scores._fields) - recorded if recorded else None


def place_among_ranks() -> tuple[int, int]:
    """Rank and world size of the process group over which tables are summed; 0 and 1 without one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
