"""Random numbers within a batch depend on the plan's key and the global position, on nothing else."""

import numpy as np
import torch

from loaders.types import EpochPlan
from tests.goodness import kolmogorov
from training.methods.within_batch.keyed_draws import random_bits, uniforms


def test_draws_are_keyed_by_the_position_in_the_global_plan():
    plan = EpochPlan(np.arange(40), key=5)
    whole = random_bits(plan, 0, 40)
    assert np.array_equal(random_bits(plan, 12, 8), whole[12:20])
    assert np.array_equal(random_bits(plan.shard(1, 2), 4, 6), whole[9:21:2])
    assert not np.isin(random_bits(EpochPlan(np.arange(40), key=6), 0, 40), whole).any()


def test_uniforms_are_uniform_from_zero_to_below_one():
    draws = uniforms(random_bits(EpochPlan(np.arange(5000), key=3), 0, 5000))
    assert draws.dtype == torch.float64
    assert kolmogorov(draws.numpy()) > 1e-3
    edges = uniforms(np.array([0, 2**64 - 1], np.uint64)).tolist()
    assert edges == [0, 1 - 2**-53]


def test_no_global_generator_is_read():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    uniforms(random_bits(EpochPlan(np.arange(4), key=1), 0, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
