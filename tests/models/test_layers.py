"""The few layers that everything is made of: batch-norm modes, folding, dtypes."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.models.context import BATCH_NORM_MODES, BatchNormMode, Context
from fgjax.models.layers import (
    BatchNorm,
    Conv,
    ConvBN,
    Dense,
    LayerNorm,
    average_pool,
    max_pool,
    relu6,
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype(np.float32)


def training(affine=True, batch=True, update=True, axis_name=None):
    mode = BatchNormMode(affine, batch, update)
    return Context(train=True, bn=(("conv2", mode),), axis_name=axis_name, group="conv2")


def initialized(layer, x, seed=0):
    """Variables of ``layer``, all of them random."""
    variables = layer.init(jax.random.key(0), x, Context())
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.float32(rng.uniform(0.5, 1.5, a.shape)), variables)


def normalized(x, mean, var, params, epsilon=1e-5):
    return (x - mean) / np.sqrt(var + epsilon) * params["scale"] + params["bias"]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("update", [False, True])
def test_switches_of_batch_norm(batch, update):
    x = draw(4, 3, 5, 2)
    variables = initialized(BatchNorm(), x)
    stats, params = variables["batch_stats"], variables["params"]
    y, moved = BatchNorm().apply(
        variables, x, training(batch=batch, update=update), mutable=["batch_stats"]
    )
    mean, var, n = x.mean((0, 1, 2)), x.var((0, 1, 2)), 4 * 3 * 5
    used = (mean, var) if batch else (stats["mean"], stats["var"])
    np.testing.assert_allclose(y, normalized(x, *used, params), rtol=1e-4, atol=1e-5)
    expected = stats
    if update:
        expected = {
            "mean": 0.9 * stats["mean"] + 0.1 * mean,
            "var": 0.9 * stats["var"] + 0.1 * var * n / (n - 1),
        }
    chex.assert_trees_all_close(moved["batch_stats"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "ctx",
    [
        Context(group="conv2"),
        training(batch=False, update=False),
        Context(train=True, bn=(("conv3", BATCH_NORM_MODES["train"]),), group="conv2"),
    ],
    ids=["evaluation", "frozen", "another group trains"],
)
def test_running_statistics_are_used_and_kept(ctx):
    x = draw(4, 3, 5, 2)
    variables = initialized(BatchNorm(), x)
    y, moved = BatchNorm().apply(variables, x, ctx, mutable=["batch_stats"])
    stats = variables["batch_stats"]
    want = normalized(x, stats["mean"], stats["var"], variables["params"])
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_equal(moved["batch_stats"], stats)


def test_statistics_survive_a_large_mean():
    x = 1000.0 + draw(8, 4, 4, 3)
    variables = initialized(BatchNorm(), x)
    variables["batch_stats"]["mean"] = jnp.full(3, 999.0)  # where training has moved it
    y, _ = BatchNorm().apply(variables, x, training(), mutable=["batch_stats"])
    mean, var = x.astype(np.float64).mean((0, 1, 2)), x.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(y, normalized(x, mean, var, variables["params"]), rtol=0, atol=2e-3)


def test_batch_statistics_are_shared_over_the_axis():
    x = draw(8, 2, 2, 3)
    variables = initialized(BatchNorm(), x)

    def run(x, axis_name):
        ctx = training(axis_name=axis_name)
        return BatchNorm().apply(variables, x, ctx, mutable=["batch_stats"])

    whole, moved = run(x, None)
    parts, moved_parts = jax.vmap(lambda part: run(part, "data"), axis_name="data")(
        x.reshape(4, 2, 2, 2, 3)
    )
    np.testing.assert_allclose(parts.reshape(x.shape), whole, rtol=1e-4, atol=1e-5)
    for copy in range(4):
        one = jax.tree.map(lambda a: a[copy], moved_parts)  # noqa: B023
        chex.assert_trees_all_close(one, moved, rtol=1e-5)


def test_gradient_passes_through_the_batch_statistics():
    x = draw(2, 2, 2, 2)
    variables = initialized(BatchNorm(), x)
    weights = draw(*x.shape, seed=1)

    def loss(x, params):
        tree = {**variables, "params": params}
        y, _ = BatchNorm().apply(tree, x, training(), mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y) * weights)

    check_grads(loss, (jnp.asarray(x), variables["params"]), 1, ["rev"], 2e-2, 2e-2, eps=1e-2)


@pytest.mark.parametrize("use_bias", [False, True])
def test_folded_norm_equals_convolution_then_norm(use_bias):
    layer = ConvBN(5, 3, 2, 1, use_bias=use_bias, activation=nn.relu)
    x = draw(2, 6, 6, 4)
    variables = initialized(layer, x)
    params, stats = variables["params"], variables["batch_stats"]
    y = Conv(5, 3, 2, 1, use_bias=use_bias).apply({"params": params["conv"]}, x, Context())
    want = normalized(y, stats["bn"]["mean"], stats["bn"]["var"], params["bn"])
    got = layer.apply(variables, x, Context())
    np.testing.assert_allclose(got, np.maximum(want, 0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "layer", [ConvBN(4, 3), Conv(4, 3, use_bias=True), Dense(4), LayerNorm(), BatchNorm()]
)
def test_parameters_are_float32_and_activations_follow_the_context(layer):
    x = draw(2, 4, 4, 3)
    variables = layer.init(jax.random.key(0), x, Context())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    for train in (False, True):
        ctx = Context(train=train, bn=(("conv2", BATCH_NORM_MODES["train"]),), dtype=jnp.bfloat16)
        y, _ = layer.apply(variables, x, ctx.at("conv2"), mutable=["batch_stats"])
        assert y.dtype == jnp.bfloat16
        exact = layer.apply(variables, x, training() if train else Context(), mutable=True)[0]
        np.testing.assert_allclose(y.astype(np.float32), exact, rtol=0.05, atol=0.1)


def test_layer_norm():
    x = draw(2, 3, 5)
    variables = initialized(LayerNorm(), x)
    want = nn.LayerNorm(epsilon=1e-6).apply(variables, x)
    np.testing.assert_allclose(LayerNorm().apply(variables, x, Context()), want, rtol=1e-4)


def test_depthwise_kernels_start_as_wide_as_dense_ones():
    key, channels = jax.random.key(0), 4096
    x = jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32)
    kernel = Conv(channels, 3, groups=channels).init(key, jnp.zeros(x.shape), Context())
    spread = np.std(kernel["params"]["kernel"])
    np.testing.assert_allclose(spread, np.sqrt(2 / 9), rtol=0.02)  # fan-in 3 · 3 · 1


@pytest.mark.parametrize(("padding", "size"), [("VALID", 3), (1, 4), ("SAME", 4)])
def test_max_pool(padding, size):
    x = -1.0 - np.abs(draw(2, 7, 7, 3))  # padding must not win
    y = np.asarray(max_pool(x, 3, 2, padding))
    assert y.shape == (2, size, size, 3)
    left = 0 if padding == "VALID" else 1
    for i in range(size):
        for j in range(size):
            top, low = max(2 * i - left, 0), max(2 * j - left, 0)
            window = x[:, top : 2 * i - left + 3, low : 2 * j - left + 3]
            np.testing.assert_array_equal(y[:, i, j], window.max((1, 2)))


def test_average_pool_sums_half_precision_in_float32():
    x = jnp.full((1, 64, 64, 1), 1.0078125, jnp.bfloat16)
    pooled = average_pool(x)
    assert pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, 1.0078125, rtol=1e-6)


def test_relu6():
    np.testing.assert_array_equal(relu6(jnp.array([-1.0, 3.0, 7.0])), [0.0, 3.0, 6.0])
