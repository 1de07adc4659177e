"""Image pyramids against each scale by itself, its locations put together by hand in NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.config import model
from fgjax.errors import UserError
from fgjax.models import assembly, scales
from fgjax.models.backbones.base import Backbone
from fgjax.models.context import BATCH_NORM_MODES, Context
from fgjax.models.layers import ConvBN
from fgjax.vocabulary import GROUPS

CTX = Context()
TWO = (1.0, 0.5)
PARTS = {"name": "bilinear_attention", "levels": ("conv3",), "maps": 3}
FPN = {"name": "fpn", "levels": ("conv2", "conv3"), "features": 8}
IMAGES = np.random.default_rng(0).normal(size=(2, 71, 65, 3)).astype(np.float32)


def build(scales=TWO, pool="average", levels=("conv3",), options=None, **parts):
    """On three levels of one convolution each, smooth for the sake of finite differences."""
    pooling = {"name": pool, "levels": levels, **(options or {})}
    built = assembly.build(model(pooling=pooling, scales=scales, **parts), classes=4)
    widths = {"conv1": 4, "conv2": 6, "conv3": 8}
    stages = [
        ConvBN(width, 5, 3, activation=nn.gelu, name=level, parent=None)
        for level, width in widths.items()
    ]
    return built.clone(backbone=Backbone(tuple(stages)))


def variables_of(module, seed=0):
    """Every value at random: what starts at zero or one would hide what it is multiplied by."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), IMAGES, CTX))

    def draw(path, leaf):
        if path[0].key == "constants":
            return jnp.asarray(rng.integers(0, 2, leaf.shape), leaf.dtype)
        if leaf.ndim < 2:
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        return jnp.asarray(rng.normal(size=leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def run(module, variables, inputs, start=None):
    return jax.jit(module.apply, static_argnums=(2, 3))(variables, inputs, CTX, start)


def by_itself(module, variables):
    """Outputs of each scale, from images that are resized here."""
    one = module.clone(scales=(1.0,))
    small = jax.image.resize(IMAGES, (2, 36, 32, 3), "bilinear")
    return [run(one, variables, x) for x in (IMAGES, small)]


def locations(each, level):
    """The locations of a merged level at every scale, [b, n, c]."""
    rows = [np.asarray(o.merged[level]).reshape(2, -1, o.merged[level].shape[-1]) for o in each]
    return np.concatenate(rows, axis=1)


def test_average_is_taken_over_the_locations_of_all_scales():
    module = build(levels=("conv2", "conv3"), merge=FPN)
    variables = variables_of(module)
    each = by_itself(module, variables)
    # The coarser level is brought to the grid of the finer one, scale by scale.
    finer = [o.merged["conv2"].shape for o in each]
    on_grid = [
        o.replace(merged={"conv3": jax.image.resize(o.merged["conv3"], shape, "bilinear")})
        for o, shape in zip(each, finer, strict=True)
    ]
    expected = [locations(each, "conv2").mean(1), locations(on_grid, "conv3").mean(1)]
    found = run(module, variables, IMAGES)
    np.testing.assert_allclose(found.embedding, np.concatenate(expected, 1), rtol=1e-4, atol=1e-5)


def test_the_gram_matrix_is_that_of_the_locations_of_all_scales():
    module = build(pool="bilinear", attention={"name": "cbam", "levels": ("conv3",)})
    variables = variables_of(module)
    x = locations(by_itself(module, variables), "conv3")
    gram = np.einsum("bnc,bnd->bcd", x, x).reshape(2, -1) / x.shape[1]
    root = np.sign(gram) * np.sqrt(np.abs(gram))
    expected = root / np.linalg.norm(root, axis=1, keepdims=True)
    found = run(module, variables, IMAGES).embedding
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_part_maps_weigh_the_locations_of_their_own_scale():
    options = {"normalize": (), "scale": 1.0}
    module = build(pool="bilinear_attention", options=options, attention=PARTS)
    variables = variables_of(module)
    each = by_itself(module, variables)
    x = locations(each, "conv3")
    maps = np.concatenate([np.asarray(o.maps["conv3"]).reshape(2, -1, 3) for o in each], axis=1)
    expected = np.einsum("bnm,bnc->bmc", maps, x).reshape(2, -1) / x.shape[1]
    found = run(module, variables, IMAGES)
    np.testing.assert_allclose(found.embedding, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.maps["conv3"], each[0].maps["conv3"])


def test_outputs_show_scale_one_and_beside_it_the_rest():
    module = build()
    variables = variables_of(module)
    first, second = by_itself(module, variables)
    found = run(module, variables, IMAGES)
    for level, maps in first.hierarchy.items():
        np.testing.assert_array_equal(found.hierarchy[level], maps)
        np.testing.assert_array_equal(found.rescaled[f"{level}@0.5"], second.hierarchy[level])


def test_a_single_scale_is_the_straight_line():
    module = build((1.0,), "bilinear", merge=FPN)
    variables = variables_of(module)

    def of(group):
        return {kind: tree[group] for kind, tree in variables.items() if group in tree}

    hierarchy = module.backbone.apply(variables, IMAGES, CTX)
    merged = module.merge.apply(of("merge"), hierarchy, CTX.at("merge"))
    pooled = module.pooling.apply({}, (merged["conv3"],), CTX.at("pooling"))
    logits = module.head.apply(of("head"), pooled, CTX.at("head"))
    found = module.apply(variables, IMAGES, CTX)
    np.testing.assert_array_equal(found.logits, logits)
    assert found.rescaled == {}


@pytest.mark.parametrize("start", ["conv3", "merge"])
def test_a_pass_goes_on_from_stored_maps_of_all_scales(start):
    module = build(pool="compact_bilinear", options={"d": 16})
    variables = variables_of(module)
    whole = run(module, variables, IMAGES)
    stored = module.apply(variables, IMAGES, CTX, method="features")
    assert stored.keys() == whole.hierarchy.keys() | whole.rescaled.keys()
    found = run(module, variables, stored, start)
    np.testing.assert_allclose(found.logits, whole.logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match=r"scale 0\.5 as well, and of it no maps are given among"):
        module.apply(variables, whole.hierarchy, CTX, start)


def test_gradients_pass_through_every_scale():
    module = build(pool="bilinear")
    variables = variables_of(module)

    @jax.jit
    def loss(x):
        return jnp.sum(jnp.sin(module.apply(variables, x, CTX).logits))

    check_grads(loss, (IMAGES,), order=1, modes=["rev"], atol=0.02, rtol=0.02)


def test_statistics_follow_one_scale_after_the_other():
    train = Context(train=True, bn=tuple((group, BATCH_NORM_MODES["train"]) for group in GROUPS))
    module = build()
    variables = variables_of(module)
    one, small = module.clone(scales=(1.0,)), scales.resized(IMAGES, 0.5)
    expected = variables
    for x in (IMAGES, small):
        _, moved = one.apply(expected, x, train, mutable=["batch_stats"])
        expected = expected | moved
    _, moved = module.apply(variables, IMAGES, train, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, moved["batch_stats"], expected["batch_stats"])


@pytest.mark.parametrize("name", ["average", "max", "bilinear"])
def test_shares_of_all_scales_lie_on_the_grid_of_the_first(name):
    module = build((1.0, 1.4, 0.5), name, ("conv2",))
    variables, classes = variables_of(module), jnp.asarray([1, 3])
    logits = run(module, variables, IMAGES).logits
    shares = module.apply(variables, IMAGES, classes, CTX, method="contributions")
    assert shares.shape == (2, 8, 8)
    own = logits[jnp.arange(2), classes] - variables["params"]["head"]["bias"][classes]
    np.testing.assert_allclose(shares.sum((1, 2)), own, rtol=1e-3, atol=1e-4)


def test_a_share_lies_where_its_location_is():
    shares = jnp.zeros((1, 1, 16 + 4)).at[0, 0, 16 + 1].set(8.0)  # upper right of four quarters
    found = scales.on_first_grid(shares, [(4, 4), (2, 2)])[0]
    np.testing.assert_array_equal(found[:2, 2:], np.full((2, 2), 2.0))
    assert found.sum() == 8


def test_images_are_smoothed_before_they_shrink():
    stripes = jnp.tile(jnp.asarray([1.0, -1.0]), 36)[None, None, :, None] * jnp.ones((1, 72, 1, 3))
    found = scales.resized(stripes, 0.5)
    assert found.shape == (1, 36, 36, 3)
    # Weights 1, 3, 3, 1 of the triangle over four pixels: stripes cancel but at the border.
    np.testing.assert_allclose(found[:, :, 1:-1], 0, atol=1e-6)
    assert scales.resized(IMAGES, 0.7071).shape == (2, 50, 46, 3)


@pytest.mark.parametrize(
    "wrong", [0.5, (), (0.5, 1.0), (1.0, 0.5, 0.5), (1.0, 1), (1.0, "half"), (1.0, 9.0), (1.0, 0)]
)
def test_scales_that_make_no_pyramid_are_named(wrong):
    with pytest.raises(UserError, match=r"model\.scales is .*; give 1\.0 first, then other"):
        build(wrong)


def test_images_that_would_be_too_small_are_named():
    with pytest.raises(UserError, match=r"model\.scales has 0\.4, by which .* are 26 pixels wide"):
        jax.eval_shape(lambda: build((1.0, 0.4)).init(jax.random.key(0), IMAGES, CTX))


def test_counterfactual_attention_is_of_one_scale():
    module = build(pool="bilinear_attention", attention=PARTS)
    variables = variables_of(module)
    found = module.apply(variables, IMAGES, CTX)
    with pytest.raises(UserError, match=r"'cal' compares .* of one scale, and there are 2; set"):
        module.apply(variables, (found.merged, found.maps), CTX, method="reclassify")
