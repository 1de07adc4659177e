"""What every backbone promises, on small versions of the real code; counts on the real ones."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from fgjax.errors import UserError
from fgjax.models import backbones
from fgjax.models.backbones.base import scaled
from fgjax.models.backbones.hrnet import ClassificationHead
from fgjax.models.backbones.resnet import Bottleneck, blur_pool
from fgjax.models.context import BATCH_NORM_MODES, Context
from fgjax.vocabulary import LEVELS

CTX = Context()
SHALLOW = (1, 1, 1, 1)
TINY = {
    "vgg11": {"width": 0.125},
    "vgg13_bn": {"width": 0.125, "depths": (1, 1, 1, 1, 1)},
    "resnet18": {"width": 8, "depths": SHALLOW},
    "resnet50": {"width": 8, "depths": SHALLOW},
    "efficientnet_lite0": {"width": 0.25, "depth": 0.3},
    "convnext_tiny": {"width": 8, "depths": SHALLOW},
    "hrnet_w18_small": {"width": 4, "planes": 8, "blocks": 1},
}
STRIDES = {
    "vgg": (1, 2, 4, 8, 16),
    "convnext": (4, 8, 16, 32),  # conv2 gives no map of its own
    **dict.fromkeys(("resnet", "efficientnet_lite", "hrnet"), (2, 4, 8, 16, 32)),
}
# Parameters of the published 1000-class networks.
PUBLISHED = {
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet152": 60_192_808, "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696, "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336, "resnext101_64x4d": 83_455_272,
    "efficientnet_lite0": 4_652_008, "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072, "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
    "hrnet_w18_small": 13_187_464, "hrnet_w18": 21_299_004, "hrnet_w30": 37_712_220,
    "hrnet_w32": 41_232_680, "hrnet_w40": 57_557_160, "hrnet_w44": 67_064_984,
    "hrnet_w48": 77_469_864, "hrnet_w64": 128_059_944,
    "convnext_tiny": 28_589_128, "convnext_small": 50_223_688, "convnext_base": 88_591_464,
}  # fmt: skip


def images(size=32, batch=2):
    return np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)


def tiny(name, **options):
    return backbones.create(name, **TINY[name] | options)


def initialized(module, x):
    """Variables of ``module``, the statistics and scales of its norms drawn at random."""
    variables = jax.jit(lambda: module.init(jax.random.key(0), x, Context()))()
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.float32(rng.uniform(0.5, 1.5, leaf.shape)) if leaf.ndim == 1 else leaf,
        variables,
    )


@functools.partial(jax.jit, static_argnames=("module", "ctx", "start", "method"))
def run(module, variables, x, ctx=CTX, start=None, method=None):
    return module.apply(variables, x, ctx, start, mutable=["batch_stats"], method=method)


def size_of(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def classifier_size(name, channels):
    """Parameters of the published network behind conv5."""
    match backbones.family(name):
        case "resnet":
            return 1000 * (channels + 1)
        case "vgg":
            return 4096 * (7 * 7 * channels + 1) + 4096 * 4097 + 1000 * 4097
        case "efficientnet_lite":
            return 1280 * (channels + 2) + 1000 * 1281
        case "convnext":
            return 2 * channels + 1000 * (channels + 1)
        case "hrnet":
            widths = [channels // 2**number for number in (3, 2, 1, 0)]
            maps = {
                level: jax.ShapeDtypeStruct((1, 64 >> number, 64 >> number, width), jnp.float32)
                for number, (level, width) in enumerate(zip(LEVELS[1:], widths, strict=True))
            }
            init = functools.partial(ClassificationHead().init, jax.random.key(0), ctx=Context())
            return size_of(jax.eval_shape(init, maps)["params"]) + 1000 * 2049


def test_every_backbone_is_counted():
    assert set(PUBLISHED) == set(backbones.names())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    module = backbones.create(name)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def initial(x):
        return module.init_with_output(jax.random.key(0), x, Context())

    hierarchy, variables = jax.eval_shape(initial, x)
    channels = hierarchy["conv5"].shape[-1]
    assert size_of(variables["params"]) + classifier_size(name, channels) == PUBLISHED[name]
    assert set(variables["params"]) == set(LEVELS)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet18", 1814), ("resnet50", 4087), ("vgg16", 15347), ("efficientnet_lite0", 364)],
)
def test_multiply_adds_are_those_of_the_published_networks(name, millions):
    info = backbones.level_info(name)
    # Of the convolutions before the classifier; ours also fold the norms into the kernels.
    assert sum(row.multiply_adds for row in info.values()) == pytest.approx(
        1e6 * millions, rel=0.03
    )


@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize("name", TINY)
def test_level_info_equals_a_run(name, size):
    module = tiny(name)
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    info = backbones.level_info(module, size)
    hierarchy, variables = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, Context()), x
    )
    assert tuple(info) == tuple(hierarchy) == module.levels
    for level, row in info.items():
        assert hierarchy[level].shape == (1, row.size, row.size, row.channels)
        assert row.parameters == size_of(variables["params"][level])
        assert row.multiply_adds > row.parameters
    strides = STRIDES[backbones.family(name)]
    assert tuple(row.stride for row in info.values()) == strides
    assert all(math.floor(size / row.stride) <= row.size for row in info.values())


@pytest.mark.parametrize("name", TINY)
def test_entry_in_the_middle_equals_the_whole(name):
    module, x = tiny(name), images()
    variables = initialized(module, x)
    stages = run(module, variables, x, method="stages")[0]
    whole = module.hierarchy(stages)
    for before, start in (("conv1", "conv2"), ("conv3", "conv4")):
        given = {"conv1": stages["conv1"], before: stages[before]}
        resumed = run(module, variables, given, start=start)[0]
        chex.assert_trees_all_close(resumed, {k: whole[k] for k in resumed}, rtol=1e-5)
        assert {"conv4", "conv5"} <= set(resumed)


def test_entries_are_where_a_hierarchy_is_enough():
    expected = {"hrnet": (), "convnext": ("conv2", "conv4", "conv5")}
    for name in TINY:
        assert tiny(name).entries == expected.get(backbones.family(name), LEVELS[1:])


def test_faulty_entries_are_named():
    with pytest.raises(UserError, match=r"start at conv2, conv3, conv4, conv5 .* not at 'conv1'"):
        tiny("resnet18").stages(images(), Context(), "conv1")
    with pytest.raises(UserError, match="from conv4 on needs what conv3 gave"):
        tiny("resnet18").stages({"conv1": images()}, Context(), "conv4")
    with pytest.raises(UserError, match=r"HRNet goes on at conv4 .* branches by depth"):
        tiny("hrnet_w18_small").stages({"conv3": images()}, Context(), "conv4")


@pytest.mark.parametrize("name", TINY)
def test_truncation_leaves_the_deeper_levels_out(name):
    whole, part, x = tiny(name), tiny(name, last="conv3"), images()
    variables = initialized(whole, x)
    shapes = jax.eval_shape(lambda: part.init(jax.random.key(0), x, Context()))
    kept = {
        collection: {level: tree[level] for level in LEVELS[:3] if level in tree}
        for collection, tree in variables.items()
    }
    chex.assert_trees_all_equal_shapes(shapes, kept)
    expected = run(whole, variables, x, method="stages")[0]
    stages = run(part, kept, x, method="stages")[0]
    assert tuple(stages) == LEVELS[:3]
    chex.assert_trees_all_close(stages, {level: expected[level] for level in stages}, rtol=1e-6)
    assert tuple(run(part, kept, x)[0]) == part.levels


@pytest.mark.parametrize("name", TINY)
def test_maps_have_the_dtype_of_the_context(name):
    module, x = tiny(name), images()

    def initial(x):
        return module.init_with_output(jax.random.key(0), x, Context(dtype=jnp.bfloat16))

    hierarchy, variables = jax.eval_shape(initial, x)
    assert {leaf.dtype for leaf in hierarchy.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", [name for name in TINY if name not in ("vgg11", "convnext_tiny")])
def test_batch_norm_moves_in_its_own_level_alone(name):
    module, x = tiny(name), images()
    variables = initialized(module, x)
    ctx = Context(train=True, bn=(("conv4", BATCH_NORM_MODES["train"]),))
    moved = run(module, variables, x, ctx)[1]["batch_stats"]
    for level, before in variables["batch_stats"].items():
        still = [
            np.array_equal(old, new)
            for old, new in zip(*map(jax.tree.leaves, (before, moved[level])), strict=True)
        ]
        assert not any(still) if level == "conv4" else all(still)


@pytest.mark.parametrize(("output_stride", "step"), [(16, 2), (8, 4)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilation_fills_in_between_the_strided_pixels(name, output_stride, step):
    x = images()
    depths = (1, 1, 1, 2)  # dilation begins behind the block that would have strided
    strided = tiny(name, depths=depths)
    dense = tiny(name, depths=depths, output_stride=output_stride)
    variables = initialized(strided, x)
    expected, found = run(strided, variables, x)[0], run(dense, variables, x)[0]
    np.testing.assert_allclose(
        found["conv5"][:, ::step, ::step], expected["conv5"], rtol=1e-4, atol=1e-4
    )
    assert found["conv5"].shape[1] == len(x[0]) // output_stride
    sparse = run(
        tiny(name, depths=depths, output_stride=output_stride, dilated=False), variables, x
    )[0]
    assert sparse["conv5"].shape == found["conv5"].shape
    assert not np.allclose(sparse["conv5"], found["conv5"], rtol=0.1)
    np.testing.assert_array_equal(sparse["conv3"], found["conv3"])


def test_stride_in_1x1_reads_every_second_pixel():
    x = np.abs(np.random.default_rng(0).normal(size=(2, 8, 8, 4))).astype(np.float32)
    strided = Bottleneck(4, strides=2, stride_in_1x1=True)
    variables = strided.init(jax.random.key(0), x, Context())
    expected = Bottleneck(4).apply(variables, x[:, ::2, ::2], Context())
    np.testing.assert_allclose(strided.apply(variables, x, Context()), expected, rtol=1e-5)
    assert not np.allclose(Bottleneck(4, strides=2).apply(variables, x, Context()), expected)


def test_blur_pool_is_the_binomial_filter():
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)
    filters = np.outer([1, 2, 1], [1, 2, 1])[None, :, :, None] / 16
    expected = ndimage.correlate(x, filters, mode="mirror")[:, ::2, ::2]
    np.testing.assert_allclose(blur_pool(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_antialiasing_softens_the_response_to_a_shift(name):
    x = images(96, batch=1)
    plain, soft = tiny(name), tiny(name, antialias=True)
    variables = initialized(plain, x)

    def change(module):
        """Of conv5, away from the border, when the image moves by one pixel."""
        before, after = (
            np.asarray(run(module, variables, image)[0]["conv5"])
            for image in (x, np.roll(x, 1, axis=(1, 2)))
        )
        assert before.shape[1:3] == (3, 3)
        return np.linalg.norm(after - before) / np.linalg.norm(before)

    assert change(soft) < 0.8 * change(plain)


@pytest.mark.parametrize(
    ("width", "multiplier", "expected"),
    [(32, 1.0, 32), (30, 1.0, 30), (24, 1.2, 32), (40, 1.1, 48), (64, 0.125, 8), (16, 0.1, 8)],
)
def test_scaled_widths(width, multiplier, expected):
    assert scaled(width, multiplier) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet51", {}, r"no backbone 'resnet51'; choose one of .*resnet50.*vgg16"),
        (
            "resnet50",
            {"depth": 2},
            r"'resnet50' has no option depth; its options are depths, .*antialias",
        ),
        ("resnet50", {"output_stride": 4}, r"output_stride=4 must be 32, 16 or 8"),
        ("resnet50", {"block": "fat"}, r"block='fat' must be 'basic' or 'bottleneck'"),
        ("vgg16", {"last": "conv6"}, r"last='conv6' must name one of the levels conv1, .*conv5"),
    ],
)
def test_faulty_options_are_named(name, options, message):
    with pytest.raises(UserError, match=message):
        backbones.create(name, **options)
