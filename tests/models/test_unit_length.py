"""Poolings say truthfully whether their vectors have length one, and heads whether that matters."""

import jax
import numpy as np
import pytest

from fgjax.models import heads, pooling
from fgjax.models.context import Context

NORMALISED = {
    "bilinear",
    "improved_bilinear",
    "compact_bilinear",
    "low_rank_bilinear",
    "factorized_bilinear",
    "hierarchical_bilinear",
}


def squared_lengths(module, levels, scale):
    rng = np.random.default_rng(0)
    maps = [np.float32(scale * np.abs(rng.normal(size=(3, 4, 4, 6)))) for _ in levels]
    attention = {level: np.float32(rng.random((3, 4, 4, 2))) for level in levels}
    variables = module.init(jax.random.key(0), maps, Context(), attention)
    return np.sum(np.square(module.apply(variables, maps, Context(), attention)), axis=1)


@pytest.mark.parametrize("name", pooling.POOLINGS)
def test_a_pooling_says_whether_its_vectors_have_length_one(name):
    module = pooling.create(name)
    assert module.unit_length == (name in NORMALISED)
    stretches = 3 if len(module.levels) == 3 else 1  # each pair of levels is one
    short, long = (squared_lengths(module, module.levels, scale) for scale in (1, 10))
    if module.unit_length:
        np.testing.assert_allclose([short, long], stretches, rtol=1e-4)
    else:
        assert np.abs(short / stretches - 1).max() > 0.1


def test_what_is_done_after_normalising_counts():
    assert pooling.create("isqrt_cov", normalize=("signed_sqrt", "l2")).unit_length
    assert not pooling.create("bilinear", normalize=("l2", "signed_sqrt")).unit_length
    assert not pooling.create("bilinear", normalize=()).unit_length
    assert pooling.create("bilinear_attention", scale=1.0).unit_length


def test_only_the_plain_head_follows_the_length_of_what_it_reads():
    linear = {name for name in heads.HEADS if heads.create(name, classes=3).linear}
    assert linear == {"linear"}
