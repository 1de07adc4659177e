import chex
import jax.numpy as jnp
import pytest

from fgjax.errors import UserError
from fgjax.finetune import groups

TREE = {
    "conv1": {"stem": {"conv": {"kernel": jnp.ones((3, 3))}, "bn": {"scale": jnp.ones(3)}}},
    "conv4": {"block0": {"kernel": jnp.ones(2)}, "block1": {"kernel": jnp.ones(5)}},
    "head": {"kernel": jnp.ones(4), "bias": jnp.ones(1)},
}


def test_the_top_level_key_is_the_group():
    assert groups.counts(TREE, groups.assign(TREE)) == {"conv1": 12, "conv4": 7, "head": 5}


def test_the_first_rule_that_matches_wins():
    rules = [("conv4/block1/.*", "last block"), ("conv4/.*", "rest"), ("head/.*", "rest")]
    assert groups.counts(TREE, groups.assign(TREE, rules)) == {
        "conv1": 12,
        "rest": 7,
        "last block": 5,
    }


def test_a_rule_that_matches_nothing_is_named():
    with pytest.raises(UserError, match=r"'conv9/\.\*' of group 'x' matches no parameter"):
        groups.assign(TREE, [("conv9/.*", "x")])
    with pytest.raises(UserError, match="an earlier pattern has not taken"):
        groups.assign(TREE, [("conv4/.*", "a"), ("conv4/block0/.*", "b")])


def test_a_parameter_without_a_group_is_named():
    with pytest.raises(UserError, match="'decoder/kernel' belongs to no group"):
        groups.assign({"decoder": {"kernel": jnp.ones(1)}})


def test_join_undoes_split():
    chex.assert_trees_all_equal(groups.join(groups.split(TREE, groups.assign(TREE))), TREE)


def test_batch_norm_parameters_are_those_beside_statistics():
    statistics = {"conv1": {"stem": {"bn": {"mean": jnp.ones(3), "var": jnp.ones(3)}}}}
    assert groups.batch_norm_paths(statistics) == {"conv1/stem/bn/scale", "conv1/stem/bn/bias"}
