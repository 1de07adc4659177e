import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fgjax.errors import UserError
from fgjax.models import heads, pooling
from fgjax.models.context import Context

CTX = Context()
LEVELS = ("conv3", "conv4", "conv5")
SHAPES = ((2, 6, 5, 4), (2, 3, 3, 6), (2, 2, 1, 3))

# name, number of levels, options, length of the pooled vector
KINDS = [
    ("average", 1, {}, 4),
    ("average", 3, {}, 13),
    ("max", 1, {}, 4),
    ("max", 3, {}, 13),
    ("gem", 2, {}, 10),
    ("gem", 1, {"trainable": False, "power": 5.0}, 4),
    ("bilinear", 1, {}, 16),
    ("bilinear", 1, {"triangle": True, "center": True}, 10),
    ("bilinear", 3, {"normalize": ("signed_power", "l2"), "exponent": 0.7}, 24 + 12 + 18),
    ("bilinear", 1, {"root": "power", "damping": 0.1}, 16),
    ("bilinear", 1, {"root": "log", "damping": 0.1}, 16),
    ("improved_bilinear", 1, {}, 16),
    ("isqrt_cov", 1, {"project": 5}, 15),
    ("compact_bilinear", 1, {"d": 32}, 32),
    ("compact_bilinear", 1, {"d": 32, "algorithm": "fft", "project": 3, "project_relu": False}, 32),
    ("compact_bilinear", 3, {"d": 9, "reduce": "sum"}, 27),
    ("compact_bilinear", 1, {"d": 32, "sketch": "maclaurin"}, 32),
    ("compact_bilinear", 2, {"d": 32, "sketch": "maclaurin", "attend": True}, 32),
    ("low_rank_bilinear", 1, {"project": 3}, 9),
    ("factorized_bilinear", 1, {"d": 7, "factors": 3}, 7),
    ("hierarchical_bilinear", 3, {"d": 7, "attend": True}, 21),
    ("bilinear_attention", 1, {}, 8),
]
IDS = [f"{name}-{levels}-{'-'.join(options)}" for name, levels, options, _ in KINDS]


def features(count=3, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.random(shape), dtype) for shape in SHAPES[:count])


ATTENTION = {"conv3": jnp.asarray(np.random.default_rng(9).random((2, 6, 5, 2)), jnp.float32)}


def build(name, count, options):
    """The pooling and its variables; statistics as a trained network's, not 0 and 1."""
    module = pooling.create(name, levels=LEVELS[:count], **options)
    variables = module.init(jax.random.key(0), features(count), CTX, ATTENTION)
    return module, variables


@pytest.mark.parametrize(("name", "count", "options", "length"), KINDS, ids=IDS)
def test_shape_dtype_and_finite_on_hard_maps(name, count, options, length):
    module, variables = build(name, count, options)
    direction = jnp.asarray(np.random.default_rng(1).standard_normal((2, length)), jnp.float32)

    @jax.jit
    def score(maps):
        pooled = module.apply(variables, maps, CTX, ATTENTION)
        assert pooled.dtype == jnp.float32
        assert pooled.shape == (2, length)
        return (direction * pooled).sum()

    slope = jax.jit(jax.value_and_grad(score))
    for dtype in (jnp.float32, jnp.bfloat16):
        base = features(count, dtype)
        one_hot = tuple(jnp.zeros_like(m).at[:, 0, 0, 0].set(1) for m in base)
        hard = [
            base,
            tuple(jnp.zeros_like(m) for m in base),
            tuple(jnp.ones_like(m) for m in base),
            one_hot,
            tuple(m * 1e15 for m in base),
            tuple(m * 1e-15 for m in base),
            tuple(m.at[:, 1:].set(m[:, :1]) for m in base),  # few distinct locations: low rank
        ]
        for maps in hard:
            value, slopes = slope(tuple(m.astype(dtype) for m in maps))
            assert np.isfinite(value)
            for s in slopes:
                assert s.dtype == dtype
                assert np.all(np.isfinite(np.asarray(s, np.float32)))


@pytest.mark.parametrize(("name", "count", "options", "length"), KINDS, ids=IDS)
def test_contributions_sum_to_the_score(name, count, options, length):
    module, variables = build(name, count, options)
    maps = features(count, seed=3)
    pooled = module.apply(variables, maps, CTX, ATTENTION)
    head = heads.create("linear", classes=5)
    rng = np.random.default_rng(2)
    weights = {
        "params": {
            "kernel": jnp.asarray(rng.standard_normal((length, 5)), jnp.float32),
            "bias": jnp.arange(5.0),
        }
    }
    scores = head.apply(weights, pooled, CTX)
    a, b = jnp.asarray([1, 4]), jnp.asarray([0, 2])
    to_a, to_b = (head.apply(weights, pooled, k, method="direction") for k in (a, b))

    def shares(direction):
        return module.apply(variables, maps, direction, CTX, ATTENTION, method="contributions")

    if options.get("root") == "log":
        with pytest.raises(UserError, match="a matrix logarithm is not linear"):
            shares(to_a)
        return
    rows = jnp.arange(2)
    scale = np.linalg.norm(pooled, axis=-1).max() * np.abs(weights["params"]["kernel"]).max()
    assert shares(to_a).shape == (2, 6, 5)
    np.testing.assert_allclose(
        shares(to_a).sum((1, 2)) + a.astype(jnp.float32), scores[rows, a], atol=2e-4 * scale
    )
    np.testing.assert_allclose(
        shares(to_a - to_b).sum((1, 2)) + a - b,
        scores[rows, a] - scores[rows, b],
        atol=2e-4 * scale,
    )


def test_contributions_point_at_the_location_that_is_the_class():
    module, _ = build("bilinear", 1, {})
    maps = (jnp.zeros((1, 3, 3, 2)).at[0, 1, 2, 0].set(2.0).at[0, 0, 0, 1].set(1.0),)
    direction = jnp.asarray([[1.0, 0.0, 0.0, 0.0]])  # asks for the first channel's square
    shares = module.apply({}, maps, direction, CTX, method="contributions")
    np.testing.assert_allclose(shares[0], [[0, 0, 0], [0, 0, 2 / 5**0.5], [0, 0, 0]], atol=1e-6)


def test_centred_shares_of_the_covariance_are_those_of_centred_features():
    module, _ = build("bilinear", 1, {"center": True, "normalize": ()})
    (x,) = features(1)
    direction = jnp.asarray(np.random.default_rng(4).standard_normal((2, 16)), jnp.float32)
    got = module.apply({}, (x,), direction, CTX, method="contributions")
    centred = x - x.mean((1, 2), keepdims=True)
    want = jnp.einsum("bhwi,bij,bhwj->bhw", centred, direction.reshape(2, 4, 4), centred) / 30
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_attention_weighs_the_locations():
    maps = features(1)
    module, variables = build("average", 1, {"attend": True})
    weights = ATTENTION["conv3"].mean(-1, keepdims=True)
    want = (weights * maps[0]).sum((1, 2)) / weights.sum((1, 2))
    got = module.apply(variables, maps, CTX, ATTENTION)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(UserError, match=r"needs attention maps of conv3, and .* gives none"):
        module.apply(variables, maps, CTX, {})


def test_bilinear_attention_is_the_mean_feature_of_each_part():
    maps, parts = features(1), ATTENTION["conv3"]
    module = pooling.create("bilinear_attention", levels=("conv3",), normalize=("l2",))
    got = module.apply({}, maps, CTX, ATTENTION)
    want = np.einsum("bhwm,bhwc->bmc", parts, maps[0]).reshape(2, -1)
    np.testing.assert_allclose(
        got, 100 * want / np.linalg.norm(want, axis=-1, keepdims=True), rtol=1e-5
    )


def test_constants_are_of_the_seed_and_shared_by_levels():
    constants = {}
    for seed in (0, 1):
        module = pooling.create("compact_bilinear", levels=LEVELS, d=50, seed=seed)
        for key in (0, 1):
            variables = module.init(jax.random.key(key), features(), CTX)
            assert "params" not in variables
            constants[seed, key] = flatten_dict(variables["constants"], sep="/")
    for name, value in constants[0, 0].items():
        np.testing.assert_array_equal(value, constants[0, 1][name])
    first = constants[0, 0]
    assert not np.array_equal(
        first["conv3_conv4_hashes_x"], constants[1, 0]["conv3_conv4_hashes_x"]
    )
    np.testing.assert_array_equal(first["conv3_conv4_hashes_x"], first["conv4_conv5_hashes_x"][:4])


def test_hierarchical_pairs_share_their_projections():
    module, variables = build("hierarchical_bilinear", 3, {"d": 7, "normalize": ()})
    kernels = variables["params"]
    assert set(kernels) == {"kernel_conv3", "kernel_conv4", "kernel_conv5"}
    fine = pooling.base.align(features())
    u = [m @ kernels[f"kernel_{level}"] for m, level in zip(fine, LEVELS, strict=True)]
    want = jnp.concatenate([(u[i] * u[j]).mean((1, 2)) for i, j in ((0, 1), (0, 2), (1, 2))], -1)
    got = module.apply(variables, features(), CTX)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_mfb_sums_groups_of_rank_one_forms():
    options = {"d": 7, "factors": 3, "normalize": ()}
    module, variables = build("factorized_bilinear", 1, options)
    (x,) = features(1)
    u, v = (variables["params"][f"kernel_conv3_{side}"] for side in "xy")
    want = ((x @ u) * (x @ v)).mean((1, 2)).reshape(2, 7, 3).sum(-1)
    np.testing.assert_allclose(module.apply(variables, (x,), CTX), want, rtol=1e-4, atol=1e-5)


def test_gem_lies_between_mean_and_maximum():
    (x,) = features(1)

    def gem(power):
        module = pooling.create("gem", power=power, trainable=False)
        return module.apply({}, (x,), CTX)

    np.testing.assert_allclose(gem(1.0), x.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(gem(3.0), (x**3).mean((1, 2)) ** (1 / 3), rtol=1e-5)
    np.testing.assert_allclose(gem(300.0), x.max((1, 2)), rtol=2e-2)


def test_newton_schulz_tells_how_far_it_is_from_convergence():
    maps = (jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 5, 4)), jnp.float32),)
    residuals = []
    for iterations in (3, 12):
        module = pooling.create("improved_bilinear", levels=("conv3",), iterations=iterations)
        _, state = module.apply({}, maps, CTX, mutable=["intermediates"])
        residuals.append(state["intermediates"]["root_residual"][0])
    assert residuals[0] > 0.05
    assert residuals[1] < 1e-4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bilinar", {}, "model.pooling.name is 'bilinar'; choose one of none, average"),
        ("bilinear", {"triangel": True}, "has no option triangel; its options are levels"),
        ("compact_bilinear", {"d": 0}, "d is 0; expected a whole number from 1"),
        ("compact_bilinear", {"algorithm": "dft"}, "algorithm is 'dft': choose one of gram, fft"),
        ("compact_bilinear", {"sketch": "count"}, "sketch is 'count': choose one of tensor"),
        ("compact_bilinear", {"sketch": "maclaurin", "algorithm": "fft"}, "choose one of gram, lo"),
        ("isqrt_cov", {"iterations": 0}, "iterations is 0; expected a whole number"),
        ("isqrt_cov", {"levels": ("conv4", "conv5")}, "triangle and root need exactly one level"),
        ("bilinear", {"root": "cholesky"}, "root is 'cholesky': choose one of"),
        ("bilinear", {"damping": 0.1}, "damping acts before a root"),
        ("bilinear", {"normalize": ("l3",)}, "normalize has .*l3.*: choose among signed_sqrt"),
        ("bilinear", {"normalize": ("signed_power",), "exponent": 2.0}, "exponent is 2.0"),
        ("average", {"reduce": "max"}, 'reduce is \'max\': use "mean" or "sum"'),
        ("average", {"levels": ()}, "levels is empty"),
        ("gem", {"power": -1.0}, "power is -1.0; expected a number above 0"),
        ("factorized_bilinear", {"factors": 0}, "factors is 0"),
        ("factorized_bilinear", {"project": -2}, "project is -2"),
    ],
)
def test_bad_options_end_in_one_sentence(name, options, message):
    with pytest.raises(UserError, match=message):
        pooling.create(name, **options)


def test_none_is_none():
    assert pooling.create("none") is None
