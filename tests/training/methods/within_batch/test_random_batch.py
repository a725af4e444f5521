"""Random parts of batches: their sizes add up, every part is as likely, and no pass is made for them."""

import numpy as np
import pytest

from loaders.types import EpochPlan
from tests.training.methods.toy import NUM, check_counts, made, make_run, train, visits
from training.machine.distributed import Ranks
from training.methods.within_batch.keyed_draws import random_bits
from training.methods.within_batch.random_batch import even_fraction, random_subset


def test_subsets_are_distinct_and_each_position_is_as_likely():
    counts = np.zeros(20)
    for key in range(3000):
        chosen = random_subset(random_bits(EpochPlan(np.arange(20), key=key), 0, 20), 6)
        assert len(set(chosen.tolist())) == 6
        assert (np.diff(chosen) > 0).all()
        counts[chosen] += 1
    assert counts == pytest.approx(np.full(20, 900), abs=5 * np.sqrt(3000 * 0.3 * 0.7))


@pytest.mark.parametrize(("fraction", "size"), [(0.3, 128), (0.1, 7), (1.0, 5), (0.01, 10)])
def test_parts_of_batches_add_up(fraction, size):
    parts = [even_fraction(fraction, size, index) for index in range(1000)]
    assert sum(parts) == int(fraction * size * 1000 + 1e-6)
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize("mix", [False, True])
def test_a_run_keeps_exactly_its_fraction_without_a_pass(mix):
    run = make_run("random-batch", mix=mix, keep=0.3)
    train(run, 4)
    check_counts(run)
    ledger = run.ledger
    assert (ledger.steps, ledger.samples, ledger.forward_samples) == (72, 4 * NUM * 0.3, 4 * NUM * 0.3)
    assert run.model.passes[False] == 0
    assert run.method.held is None
    if not mix:
        spread = np.bincount(visits(run).astype(int), minlength=5) / NUM
        binomial = [0.7**4, 4 * 0.3 * 0.7**3, 6 * 0.09 * 0.49, 4 * 0.027 * 0.7, 0.0081]
        assert spread == pytest.approx(binomial, abs=0.05)


def test_chosen_images_wait_until_a_whole_batch_is_together():
    run = make_run("random-batch", keep=0.3)
    samples = []
    for _ in range(2):
        train(run)
        samples.append(run.ledger.samples)
    assert samples == [360, 720]
    run = make_run("random-batch", keep=0.11)  # 132 of an epoch
    train(run)
    assert (run.ledger.samples, len(run.method.held.images)) == (120, 12)
    train(run)
    assert (run.ledger.samples, len(run.method.held.images)) == (260, 4)


def test_one_process_gathers_alone():
    with pytest.raises(ValueError, match="in one process: start it without torchrun"):
        made("random-batch", ranks=Ranks(0, 2))
    assert made("random-batch", budget=60, budget_unit="seconds").keep_fraction == pytest.approx(1 / 3)
