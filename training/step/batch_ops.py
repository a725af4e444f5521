"""Select images of batches, join and split batches, and convert them for a checkpoint.

A mixed image that leaves its batch carries the labels and ids of the samples that it shows, since positions in the
batch mean nothing elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from loaders.types import Batch, Mix


def own(batch: Batch) -> Batch:
    """The same images; mixed ones get labels and ids int64 [B, P] and shares float32 [B, P] in place of partners."""
    if batch.mix is None or batch.mix.partners is None:
        return batch
    partners_BP = batch.mix.partners
    mix = Mix(None, batch.mix.shares.expand(partners_BP.shape))
    return batch._replace(labels=batch.labels[partners_BP], ids=batch.ids[partners_BP], mix=mix)


def take(batch: Batch, positions_K: Tensor, weights_K: Tensor | None = None) -> Batch:
    """Copies of the images at these positions (int64 [K], repeats allowed).

    Args:
        weights_K: float32 [K], factors on the weights that the images have.
    """
    images, labels, ids, weights, mix = own(batch)
    # Rows of the channels-last memory, so that the copies lie in it like the images of a loader.
    images = images.permute(0, 2, 3, 1).index_select(0, positions_K).permute(0, 3, 1, 2)
    if weights is not None:
        weights = weights[positions_K]
    if weights_K is not None:
        weights = weights_K if weights is None else weights * weights_K
    mix = None if mix is None else Mix(None, mix.shares[positions_K])
    return Batch(images, labels[positions_K], ids[positions_K], weights, mix)


def join(first: Batch | None, second: Batch) -> Batch:
    """One batch of two that `take` has made; None is an empty one.

    Beside mixed images, a plain one counts as mixed from itself alone.
    """
    if first is None:
        return second
    if (first.mix is None) != (second.mix is None):
        num_partners = (first if second.mix is None else second).labels.shape[1]
        first, second = (_as_mixed(batch, num_partners) for batch in (first, second))
    images = torch.cat([batch.images.permute(0, 2, 3, 1) for batch in (first, second)]).permute(0, 3, 1, 2)
    labels, ids = torch.cat([first.labels, second.labels]), torch.cat([first.ids, second.ids])
    weights = mix = None
    if first.weights is not None and second.weights is not None:
        weights = torch.cat([first.weights, second.weights])
    if first.mix is not None and second.mix is not None:
        mix = Mix(None, torch.cat([first.mix.shares, second.mix.shares]))
    return Batch(images, labels, ids, weights, mix)


def split(batch: Batch, size: int) -> tuple[Batch | None, Batch | None]:
    """The first `size` images of a batch that `take` has made, None where there are fewer; and a copy of the rest."""
    num, device = len(batch.images), batch.images.device
    if num < size:
        return None, batch
    if num == size:
        return batch, None
    where = torch.arange(num, device=device)
    return take(batch, where[:size]), take(batch, where[size:])


def main_labels(batch: Batch) -> Tensor:
    """Labels, int64 [B]: of a mixed image that of the sample that fills most of it."""
    batch = own(batch)
    if batch.mix is None:
        return batch.labels
    largest_B1 = batch.mix.shares.argmax(dim=1, keepdim=True)
    return batch.labels.gather(1, largest_B1).squeeze(1)


def to_dict(batch: Batch | None) -> dict[str, Tensor | None] | None:
    """Tensors alone, for a checkpoint."""
    if batch is None:
        return None
    return {**batch._asdict(), "mix": None if batch.mix is None else batch.mix.shares}


def from_dict(saved: dict[str, Tensor | None] | None, device: torch.device) -> Batch | None:
    """The opposite of `to_dict`."""
    if saved is None:
        return None
    values: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in saved.items()}
    if values["mix"] is not None:
        values["mix"] = Mix(None, values["mix"])
    return Batch(**values)


def _as_mixed(batch: Batch, num_partners: int) -> Batch:
    if batch.mix is not None:
        return batch
    labels_BP, ids_BP = (values[:, None].expand(-1, num_partners) for values in (batch.labels, batch.ids))
    shares_BP = torch.zeros(labels_BP.shape, device=batch.labels.device)
    shares_BP[:, 0] = 1
    return batch._replace(labels=labels_BP, ids=ids_BP, mix=Mix(None, shares_BP))
