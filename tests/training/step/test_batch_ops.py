"""Images that leave their batch keep what they show: labels, ids, shares, weights."""

import numpy as np
import pytest
import torch

from loaders.augment.mixers import RICAP, CutMix, Mixup, draw_mix
from loaders.importance import ImportanceTable
from loaders.types import Batch, Mix
from training.step import batch_ops
from training.step.losses import batch_scores, sample_losses

MIXERS = {"mixup": Mixup(), "cutmix": CutMix(), "ricap": RICAP()}
NUM, CLASSES = 12, 5


def make_batch(mixer=None, key: int = 1, weights: bool = False) -> Batch:
    """Of samples 100, 101, ...; the first channel of an image holds the number of its place."""
    generator = torch.Generator().manual_seed(key)
    images = torch.randn(NUM, 3, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    images[:, 0] = torch.arange(NUM)[:, None, None]
    mix = None
    if mixer is not None:
        drawn = draw_mix(mixer, key, 0, NUM, 8, 8)
        mix = Mix(torch.from_numpy(drawn.partners), torch.from_numpy(drawn.shares))
    labels = torch.randint(0, CLASSES, (NUM,), generator=generator)
    return Batch(
        images, labels, torch.arange(NUM) + 100 * key, torch.rand(NUM, generator=generator) if weights else None, mix
    )


def logits_of(batch: Batch) -> torch.Tensor:
    weight = torch.linspace(-1, 1, 3 * 64 * CLASSES).reshape(3 * 64, CLASSES).sin()
    return batch.images.flatten(1) @ weight


@pytest.mark.parametrize("mixer", MIXERS)
def test_mixed_images_from_two_batches_have_the_losses_that_they_had_there(mixer):
    first, second = make_batch(MIXERS[mixer], 1), make_batch(MIXERS[mixer], 2)
    assert not torch.equal(first.mix.shares, second.mix.shares)
    where = torch.tensor([3, 7, 7]), torch.tensor([0, 11])
    joined = batch_ops.join(*(batch_ops.take(batch, at) for batch, at in zip((first, second), where, strict=True)))
    expected = [
        sample_losses(logits_of(batch), batch.labels, batch.mix, 0.1)[at]
        for batch, at in zip((first, second), where, strict=True)
    ]
    got = sample_losses(logits_of(joined), joined.labels, joined.mix, 0.1)
    assert torch.allclose(got, torch.cat(expected), atol=1e-6)
    # by hand: the shares of each image's own batch, the labels of its partners there
    for row, (batch, at) in enumerate([(first, 3), (first, 7), (first, 7), (second, 0), (second, 11)]):
        log_p = torch.log_softmax(logits_of(batch)[at], dim=0)
        by_hand = -sum(
            share * (0.9 * log_p[batch.labels[p]] + 0.1 * log_p.mean())
            for share, p in zip(batch.mix.shares, batch.mix.partners[at], strict=True)
        )
        assert got[row].item() == pytest.approx(by_hand.item(), rel=1e-4)
        assert joined.ids[row].tolist() == batch.ids[batch.mix.partners[at]].tolist()
        assert torch.equal(joined.images[row], batch.images[at])


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_partners_are_credited_by_the_shares_of_their_own_batch(mixer):
    batches = [make_batch(MIXERS[mixer], key) for key in (1, 2)]
    whole, taken = ImportanceTable(300), ImportanceTable(300)
    for batch in batches:
        whole.record_mixed(batch.ids, batch.mix, batch_scores(logits_of(batch), batch))
    joined = batch_ops.join(*(batch_ops.take(batch, torch.arange(NUM)) for batch in batches))
    taken.record_mixed(joined.ids, joined.mix, batch_scores(logits_of(joined), joined))
    for mine, theirs in zip(taken.snapshot(), whole.snapshot(), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


def test_plain_images_beside_mixed_ones_are_all_of_themselves():
    mixed, plain = make_batch(RICAP(), 1), make_batch(None, 2)
    for order in (slice(None), slice(None, None, -1)):
        parts = [batch_ops.take(batch, torch.tensor([1, 2])) for batch in (mixed, plain)][order]
        joined = batch_ops.join(*parts)
        losses = sample_losses(logits_of(joined), joined.labels, joined.mix)
        expected = [sample_losses(logits_of(batch), batch.labels, batch.mix)[1:3] for batch in (mixed, plain)][order]
        assert torch.allclose(losses, torch.cat(expected), atol=1e-6)
        assert joined.mix.shares.sum(1).tolist() == pytest.approx([1.0] * 4)


def test_weights_travel_and_multiply():
    batch = make_batch(weights=True)
    taken = batch_ops.take(batch, torch.tensor([4, 4, 0]), torch.tensor([2.0, 1.0, 3.0]))
    assert taken.weights.tolist() == pytest.approx((batch.weights[[4, 4, 0]] * torch.tensor([2.0, 1.0, 3.0])).tolist())
    assert batch_ops.take(make_batch(), torch.tensor([1]), torch.tensor([2.0])).weights.tolist() == [2.0]
    assert batch_ops.take(make_batch(), torch.tensor([1])).weights is None


def test_split_gives_whole_batches_in_order():
    batch = batch_ops.take(make_batch(Mixup()), torch.arange(7))
    whole, rest = batch_ops.split(batch, 5)
    assert whole.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert rest.images[:, 0, 0, 0].tolist() == [5, 6]
    assert (whole.labels.shape, rest.mix.shares.shape) == ((5, 2), (2, 2))
    assert batch_ops.split(rest, 5)[0] is None
    whole, rest = batch_ops.split(rest, 2)
    assert rest is None
    assert len(whole.images) == 2


def test_copies_lie_in_channels_last_memory_and_are_copies():
    batch = make_batch()
    taken = batch_ops.join(batch_ops.take(batch, torch.tensor([0, 1])), batch_ops.take(batch, torch.tensor([2])))
    assert taken.images.is_contiguous(memory_format=torch.channels_last)
    batch.images.zero_()
    assert taken.images[2, 0, 0, 0] == 2


def test_the_main_label_is_that_of_the_sample_that_fills_most_of_the_image():
    batch = make_batch(Mixup(), 3)
    labels = batch_ops.main_labels(batch)
    which = int(batch.mix.shares.argmax())
    assert torch.equal(labels, batch.labels[batch.mix.partners[:, which]])
    assert torch.equal(batch_ops.main_labels(batch_ops.take(batch, torch.tensor([5, 2]))), labels[[5, 2]])
    assert torch.equal(batch_ops.main_labels(make_batch()), make_batch().labels)


@pytest.mark.parametrize("mixer", [None, RICAP()])
def test_a_checkpoint_brings_them_back(tmp_path, mixer):
    held = batch_ops.take(make_batch(mixer, weights=True), torch.tensor([2, 5, 6]))
    torch.save(batch_ops.to_dict(held), tmp_path / "held")
    back = batch_ops.from_dict(torch.load(tmp_path / "held", weights_only=True), torch.device("cpu"))
    for name in ("images", "labels", "ids", "weights"):
        assert torch.equal(getattr(back, name), getattr(held, name))
    assert back.images.stride() == held.images.stride()
    assert (back.mix is None) == (mixer is None)
    assert mixer is None or torch.equal(back.mix.shares, held.mix.shares)
    assert batch_ops.from_dict(batch_ops.to_dict(None), torch.device("cpu")) is None


def test_nothing_taken_is_an_empty_batch():
    empty = batch_ops.take(make_batch(RICAP()), torch.zeros(0, dtype=torch.int64))
    joined = batch_ops.join(empty, batch_ops.take(make_batch(RICAP(), 2), torch.tensor([1])))
    assert (len(empty.images), len(joined.images), joined.labels.shape) == (0, 1, (1, 4))
    assert np.prod(empty.images.shape) == 0
