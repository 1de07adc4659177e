import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fgjax.errors import UserError
from fgjax.models import heads, pooling
from fgjax.models.context import Context

CTX = Context()


def pooled(b=3, d=16):
    return jnp.asarray(np.random.default_rng(0).standard_normal((b, d)), jnp.float32)


def randomized(variables):
    """The same tree with every leaf drawn at random."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), jnp.float32), variables)


@pytest.mark.parametrize("name", ["linear", "cosine", "low_rank_bilinear"])
def test_score_is_direction_times_pooled_plus_bias(name):
    head, z = heads.create(name, classes=4), pooled()
    variables = randomized(head.init(jax.random.key(0), z, CTX))
    scores = head.apply(variables, z, CTX)
    assert scores.shape == (3, 4)
    assert scores.dtype == jnp.float32
    classes = jnp.asarray([3, 0, 1])
    direction = head.apply(variables, z, classes, method="direction")
    bias = variables["params"].get("bias", jnp.zeros(4))
    np.testing.assert_allclose(
        (direction * z).sum(-1) + bias[classes], scores[jnp.arange(3), classes], rtol=1e-4
    )


@pytest.mark.parametrize("name", ["linear", "low_rank_bilinear"])
def test_starts_at_zero_and_learns_at_once(name):
    head, z = heads.create(name, classes=4), pooled()
    variables = head.init(jax.random.key(0), z, CTX)
    assert not np.any(head.apply(variables, z, CTX))
    slope = jax.grad(lambda v: head.apply(v, z, CTX)[:, 0].sum())(variables)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slope))


def test_linear_without_bias():
    head = heads.create("linear", classes=4, use_bias=False)
    assert set(head.init(jax.random.key(0), pooled(), CTX)["params"]) == {"kernel"}


def test_cosine_depends_on_direction_alone():
    head, z = heads.create("cosine", classes=4, scale=10.0), pooled()
    variables = head.init(jax.random.key(0), z, CTX)
    scores = head.apply(variables, z, CTX)
    np.testing.assert_allclose(head.apply(variables, 7 * z, CTX), scores, rtol=1e-5)
    kernel = variables["params"]["kernel"]
    cosine = z @ kernel / np.linalg.norm(kernel, axis=0) / np.linalg.norm(z, axis=1)[:, None]
    np.testing.assert_allclose(scores, 10 * cosine, rtol=1e-4, atol=1e-5)
    assert not np.any(head.apply(variables, 0 * z, CTX))


def test_low_rank_equals_the_explicit_bilinear_classifier():
    """‖U₊ᵀX‖² - ‖U₋ᵀX‖² + b over the locations, with U = P V, and ⟨U₊U₊ᵀ - U₋U₋ᵀ, XXᵀ⟩ + b."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 4, 9))
    options = {"project": 6, "normalize": (), "reduce": "sum"}
    pool = pooling.create("low_rank_bilinear", **options)
    head = heads.create("low_rank_bilinear", classes=3, rank=4)
    maps = (jnp.asarray(x, jnp.float32),)
    pool_variables = pool.init(jax.random.key(0), maps, CTX)
    gram = pool.apply(pool_variables, maps, CTX)
    variables = randomized(head.init(jax.random.key(1), gram, CTX))
    scores = head.apply(variables, gram, CTX)
    p = np.asarray(pool_variables["params"]["project_conv5"]["kernel"], np.float64)[0, 0]
    v = {k: np.asarray(a, np.float64) for k, a in variables["params"].items()}
    flat = x.reshape(2, 20, 9)
    for b in range(2):
        for k in range(3):
            plus, minus = p @ v["positive"][k], p @ v["negative"][k]
            locations = ((flat[b] @ plus) ** 2).sum() - ((flat[b] @ minus) ** 2).sum()
            weights = plus @ plus.T - minus @ minus.T
            explicit = (weights * (flat[b].T @ flat[b])).sum()
            np.testing.assert_allclose(locations, explicit, rtol=1e-9)
            np.testing.assert_allclose(scores[b, k], locations + v["bias"][k], rtol=1e-4)


def test_low_rank_wants_a_gram_matrix():
    head = heads.create("low_rank_bilinear", classes=3)
    with pytest.raises(UserError, match="it got 15 values and rank 8"):
        head.init(jax.random.key(0), pooled(d=15), CTX)
    odd = heads.create("low_rank_bilinear", classes=3, rank=3)
    with pytest.raises(UserError, match="reads a Gram matrix by an even rank"):
        odd.init(jax.random.key(0), pooled(), CTX)


def test_granularities_are_classifiers_of_the_stretches_and_of_all():
    head, z = heads.create("multi_granularity", classes=4, levels=2, hidden=5), pooled(d=6)
    variables = randomized(head.init(jax.random.key(0), z, CTX))
    stats = jax.tree.map(jnp.abs, variables["batch_stats"])
    variables = variables | {"batch_stats": stats}
    each = head.apply(variables, z, CTX, method="each")
    classes = jnp.asarray([3, 0, 1])
    direction = head.apply(variables, z, classes, method="direction")
    weights = np.zeros(z.shape)
    for name, stretch, scores in zip(
        ("level_0", "level_1", "whole"), (slice(3), slice(3, 6), slice(6)), each, strict=True
    ):
        p, s = variables["params"][name], stats[name]

        def affine(layer, p=p, s=s):
            scale = p[layer]["scale"] / np.sqrt(s[layer]["var"] + 1e-5)
            return scale, p[layer]["bias"] - s[layer]["mean"] * scale

        (a, b), (c, d) = affine("norm"), affine("hidden_norm")
        hidden = ((z[:, stretch] * a + b) @ p["hidden"]["kernel"]) * c + d
        active = np.where(hidden > 0, hidden, np.exp(hidden) - 1)
        expected = active @ p["out"]["kernel"] + p["out"]["bias"]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        back = (active / hidden * p["out"]["kernel"].T[classes] * c) @ p["hidden"]["kernel"].T
        weights[:, stretch] += back * a
    np.testing.assert_allclose(head.apply(variables, z, CTX), sum(each), rtol=1e-5)
    np.testing.assert_allclose(direction, weights, rtol=1e-3, atol=1e-4)
    maps = tuple(jnp.zeros((1, 2, 2, c)) for c in (4, 6))
    with pytest.raises(
        UserError, match="by 2 levels of one width, and the pooling reads maps of 4"
    ):
        head.stem(maps, CTX)


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    head, z = heads.create("linear", classes=1, dropout=0.25), jnp.ones((1, 4000))
    variables = {"params": {"kernel": jnp.ones((4000, 1)), "bias": jnp.zeros(1)}}
    assert head.apply(variables, z, CTX) == 4000
    train = Context(train=True)
    rngs = {"dropout": jax.random.key(0)}
    dropped = head.apply(variables, z, train, rngs=rngs)[0, 0]
    assert dropped != 4000
    assert abs(dropped - 4000) < 4 * 4000**0.5


class Line(nn.Module):
    head: nn.Module

    def __call__(self, maps, ctx):
        return self.head(self.head.stem(maps, ctx)[0].mean((1, 2)), ctx)


def test_expand_stands_before_the_pooling_in_the_head_group():
    head = heads.create("linear", classes=3, expand=8)
    maps = (jnp.asarray(np.random.default_rng(0).random((2, 3, 3, 4)), jnp.float32),)
    variables = Line(head).init(jax.random.key(0), maps, CTX)
    group = variables["params"]["head"]
    assert group["expand"]["conv"]["kernel"].shape == (1, 1, 4, 8)
    assert group["kernel"].shape == (8, 3)
    assert variables["batch_stats"]["head"]["expand"]["bn"]["mean"].shape == (8,)
    with pytest.raises(UserError, match="expand widens one map, and the pooling reads 2"):
        Line(head).apply(variables, maps * 2, CTX)


def test_bad_names_and_options():
    with pytest.raises(UserError, match=r"model.head.name is 'mlp'; choose one of none, cosine"):
        heads.create("mlp", classes=3)
    with pytest.raises(UserError, match="has no option rate; its options are dropout, expand"):
        heads.create("linear", classes=3, rate=0.5)
