import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.models import merges
from fgjax.models.context import BATCH_NORM_MODES, Context

CTX = Context()
TRAIN = Context(train=True, bn=(("merge", BATCH_NORM_MODES["train"]),), group="merge")
ALL = ("conv2", "conv3", "conv4", "conv5")


def hierarchy(size=27, channels=(3, 4, 6, 8), rounding=np.ceil, seed=0):
    """conv2 ... conv5, each half the one before, rounded up or down."""
    rng = np.random.default_rng(seed)
    maps, shape = {}, np.array([size, size - 4])
    for level, c in zip(ALL, channels, strict=True):
        maps[level] = jnp.asarray(rng.normal(size=(2, *shape, c)), jnp.float32)
        shape = rounding(shape / 2).astype(int)
    return maps


def randomised(variables, seed=0):
    rng = np.random.default_rng(seed)
    draw = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), variables)
    stats = jax.tree.map(lambda x: jnp.abs(x) + 0.5, draw.get("batch_stats", {}))
    return {**draw, "batch_stats": stats}


def run(name, maps, ctx=CTX, **options):
    module = merges.create(name, **options)
    variables = randomised(module.init(jax.random.key(0), maps, ctx))
    return module.apply(variables, maps, ctx), variables


CASES = {
    "fpn": ("fpn", {}),
    "fpn concat": ("fpn", {"fuse": "concat", "norm": True}),
    "pan": ("pan", {}),
    "bifpn": ("bifpn", {"repeats": 1}),
    "hrnet v2": ("hrnet_concat", {"version": "v2"}),
    "hrnet v2p": ("hrnet_concat", {"version": "v2p"}),
    "stage blocks": ("stage_blocks", {"hidden": 3}),
}


@pytest.mark.parametrize("levels", [ALL, ("conv3", "conv5")])
@pytest.mark.parametrize("rounding", [np.ceil, np.floor])
@pytest.mark.parametrize("case", ["fpn", "fpn concat", "pan", "bifpn", "hrnet v2p", "stage blocks"])
def test_pyramids_keep_sizes_whatever_the_subset_and_the_rounding(case, rounding, levels):
    name, options = CASES[case]
    maps = hierarchy(rounding=rounding)
    module = merges.create(name, **options, levels=levels[::-1], features=5)
    merged = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), maps, CTX)[0])
    assert list(merged) == list(ALL)
    for level in ALL:
        channels = 5 if level in levels else maps[level].shape[-1]
        assert merged[level].shape == (*maps[level].shape[:3], channels)


def test_levels_that_are_not_merged_pass_through_untouched():
    maps = hierarchy()
    for name in ("fpn", "pan", "bifpn", "hypercolumn"):
        merged, _ = run(name, maps, levels=("conv4", "conv5"))
        assert merged["conv2"] is maps["conv2"]
        assert merged["conv3"] is maps["conv3"]


@pytest.mark.parametrize("case", CASES)
def test_every_leaf_has_a_finite_gradient(case):
    name, options = CASES[case]
    maps = hierarchy(size=13)
    module = merges.create(name, **options, levels=ALL, features=4)
    variables = randomised(module.init(jax.random.key(0), maps, CTX))
    # A negative fusion weight counts as zero, and what it weighs would rightly have no gradient.
    variables["params"] = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.abs(x) if path[-1].key == "weights" else x, variables["params"]
    )

    def loss(params):
        out, _ = module.apply({**variables, "params": params}, maps, TRAIN, mutable=["batch_stats"])
        return sum(jnp.sum(jnp.sin(x)) for x in out.values())

    grads = jax.jit(jax.grad(loss))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize("name", ["fpn", "pan", "bifpn"])
def test_extra_levels_stand_above_the_coarsest_at_half_its_size(name):
    merged, _ = run(name, hierarchy(size=40), features=4, extra_levels=2)
    assert list(merged) == [*ALL, "conv6", "conv7"]
    assert merged["conv5"].shape == (2, 5, 5, 4)
    assert merged["conv6"].shape == (2, 3, 3, 4)
    assert merged["conv7"].shape == (2, 2, 2, 4)


def convolve(x, kernel, stride=1):
    """3x3 or 1x1 convolution, padded by one or none, location by location."""
    k = kernel.shape[0]
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    rows = range(0, x.shape[1] - k + 1, stride)
    columns = range(0, x.shape[2] - k + 1, stride)
    out = np.empty((len(x), len(rows), len(columns), kernel.shape[-1]))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            patch = x[:, top : top + k, left : left + k]
            out[:, i, j] = np.einsum("bhwc,hwcd->bd", patch, kernel)
    return out


def depthwise(x, kernel):
    c = x.shape[-1]
    return np.concatenate([convolve(x[..., [i]], kernel[..., [i]]) for i in range(c)], axis=-1)


def up(x, shape):
    rows = np.arange(shape[1]) * x.shape[1] // shape[1]
    columns = np.arange(shape[2]) * x.shape[2] // shape[2]
    return x[:, rows][:, :, columns]


def affine(x, layer):
    return convolve(x, layer["kernel"]) + layer["bias"]


def test_fpn_by_concatenation_against_numpy():
    maps = hierarchy()
    merged, variables = run("fpn", maps, levels=ALL, features=4, fuse="concat")
    p = jax.tree.map(np.asarray, variables["params"])
    above = None
    for level in reversed(ALL):
        x = affine(np.asarray(maps[level]), p[f"lateral_{level}"])
        if above is not None:
            x = np.concatenate([x, up(above, x.shape)], axis=-1)
        above = affine(x, p[f"smooth_{level}"])
        np.testing.assert_allclose(merged[level], above, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rounding", [np.ceil, np.floor])
def test_pan_against_numpy(rounding):
    maps = hierarchy(rounding=rounding)
    merged, variables = run("pan", maps, levels=ALL, features=4)
    p = jax.tree.map(np.asarray, variables["params"])
    above, pyramid = None, {}
    for level in reversed(ALL):
        x = affine(np.asarray(maps[level]), p["top_down"][f"lateral_{level}"])
        above = x if above is None else x + up(above, x.shape)
        pyramid[level] = affine(above, p["top_down"][f"smooth_{level}"])
    below = pyramid["conv2"]
    np.testing.assert_allclose(merged["conv2"], below, rtol=1e-4, atol=1e-4)
    for level in ALL[1:]:
        layer = p[f"down_{level}"]
        x = np.maximum(convolve(below, layer["kernel"], 2) + layer["bias"], 0)
        x = x[:, : pyramid[level].shape[1], : pyramid[level].shape[2]] + pyramid[level]
        below = np.maximum(affine(x, p[f"bottom_up_{level}"]), 0)
        np.testing.assert_allclose(merged[level], below, rtol=1e-4, atol=1e-4)


def normalise(x, p, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * p["scale"] + p["bias"]


def pool(x, shape):
    """3x3 maximum at stride 2, padded like TensorFlow's "SAME"."""
    out = np.empty((len(x), *shape[1:3], x.shape[-1]))
    first = [-(max((-(-n // 2) - 1) * 2 + 3 - n, 0) // 2) for n in x.shape[1:3]]
    for i in range(shape[1]):
        top = first[0] + 2 * i
        for j in range(shape[2]):
            left = first[1] + 2 * j
            window = x[:, max(top, 0) : top + 3, max(left, 0) : left + 3]
            out[:, i, j] = window.max(axis=(1, 2))
    return out


def test_bifpn_against_numpy():
    maps = hierarchy()
    merged, variables = run("bifpn", maps, levels=ALL, features=4, repeats=2)
    p, stats = (jax.tree.map(np.asarray, variables[k]) for k in ("params", "batch_stats"))

    def node(cell, name, inputs):
        layer, s = p[cell][name], stats[cell][name]
        w = np.maximum(layer["weights"], 0)
        x = sum(w[i] * x for i, x in enumerate(inputs)) / (w.sum() + 1e-4)
        x = convolve(
            depthwise(x, layer["depthwise"]["kernel"]), layer["pointwise"]["conv"]["kernel"]
        )
        x = normalise(x, layer["pointwise"]["bn"], s["pointwise"]["bn"])
        return x / (1 + np.exp(-x))

    levels = {}
    for level in ALL:
        layer, s = p[f"lateral_{level}"], stats[f"lateral_{level}"]
        x = convolve(np.asarray(maps[level]), layer["conv"]["kernel"])
        levels[level] = normalise(x, layer["bn"], s["bn"])
    for cell in ("cell_0", "cell_1"):
        p2, p3, p4, p5 = (levels[level] for level in ALL)
        t4 = node(cell, "down_conv4", [p4, up(p5, p4.shape)])
        t3 = node(cell, "down_conv3", [p3, up(t4, p3.shape)])
        o2 = node(cell, "down_conv2", [p2, up(t3, p2.shape)])
        o3 = node(cell, "up_conv3", [p3, t3, pool(o2, p3.shape)])
        o4 = node(cell, "up_conv4", [p4, t4, pool(o3, p4.shape)])
        o5 = node(cell, "up_conv5", [p5, pool(o4, p5.shape)])
        levels = {"conv2": o2, "conv3": o3, "conv4": o4, "conv5": o5}
    for level in ALL:
        np.testing.assert_allclose(merged[level], levels[level], rtol=1e-4, atol=1e-4)


def test_hrnet_v1_keeps_the_finest_branch_only():
    maps = hierarchy()
    merged, variables = run("hrnet_concat", maps, version="v1", levels=("conv3", "conv4", "conv5"))
    assert list(merged) == ["conv2", "conv3"]
    assert merged["conv3"] is maps["conv3"]
    assert not variables.get("params")


def test_hrnet_v2_mixes_all_branches_at_the_finest_size():
    maps = hierarchy()
    merged, variables = run("hrnet_concat", maps, version="v2", levels=ALL)
    assert list(merged) == ["conv2"]
    stacked = [jax.image.resize(x, (2, 27, 23, x.shape[-1]), "bilinear") for x in maps.values()]
    x = np.concatenate(stacked, axis=-1) @ variables["params"]["mix"]["conv"]["kernel"][0, 0]
    x = normalise(x, variables["params"]["mix"]["bn"], variables["batch_stats"]["mix"]["bn"])
    np.testing.assert_allclose(merged["conv2"], np.maximum(x, 0), rtol=1e-4, atol=1e-4)


def test_hrnet_v2p_averages_the_mixed_map_for_every_branch():
    maps = hierarchy(size=28, channels=(2, 3, 4, 5))
    merged, variables = run("hrnet_concat", maps, version="v2p", levels=ALL, features=4)
    p = jax.tree.map(np.asarray, variables["params"])
    stacked = [jax.image.resize(x, (2, 28, 24, x.shape[-1]), "bilinear") for x in maps.values()]
    x = affine(np.concatenate(stacked, axis=-1), p["mix"])
    half = x.reshape(2, 14, 2, 12, 2, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(merged["conv2"], affine(x, p["smooth_conv2"]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        merged["conv3"], affine(half, p["smooth_conv3"]), rtol=1e-4, atol=1e-4
    )


def test_hypercolumn_stacks_levels_at_one_of_them():
    maps = hierarchy(size=28)
    merged, variables = run("hypercolumn", maps, levels=("conv3", "conv4", "conv5"))
    assert list(merged) == ["conv2", "conv3"]
    assert not variables.get("params")
    assert merged["conv3"].shape == (2, 14, 12, 4 + 6 + 8)
    np.testing.assert_array_equal(merged["conv3"][..., :4], maps["conv3"])
    merged, _ = run("hypercolumn", maps, levels=("conv3", "conv4"), at="conv4")
    assert list(merged) == ["conv2", "conv4", "conv5"]
    half = np.asarray(maps["conv3"]).reshape(2, 7, 2, 6, 2, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(merged["conv4"][..., :4], half, rtol=1e-5, atol=1e-6)


def test_stage_blocks_follow_each_level_by_itself():
    maps = hierarchy()
    options = {"levels": ("conv4", "conv5"), "hidden": 3, "features": 5}
    merged, variables = run("stage_blocks", maps, **options)
    others = {**maps, "conv5": maps["conv5"] + 1}
    again = merges.create("stage_blocks", **options).apply(variables, others, CTX)
    np.testing.assert_array_equal(again["conv4"], merged["conv4"])
    assert not np.allclose(again["conv5"], merged["conv5"])

    def follow(x, layer):
        p, s = variables["params"][layer], variables["batch_stats"][layer]["bn"]
        y = jax.lax.conv_general_dilated(
            x, p["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        y = (y - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["bn"]["scale"] + p["bn"]["bias"]
        return np.maximum(y, 0)

    expected = follow(follow(maps["conv5"], "reduce_conv5"), "expand_conv5")
    np.testing.assert_allclose(merged["conv5"], expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_activations():
    maps = {level: x.astype(jnp.bfloat16) for level, x in hierarchy(size=13).items()}
    ctx = Context(dtype=jnp.bfloat16)
    for name in merges.MERGES:
        options = {} if name == "hrnet_head" else {"levels": ALL}  # that one has fixed levels
        out = jax.eval_shape(
            lambda name=name, options=options: merges.create(name, **options).init_with_output(
                jax.random.key(0), maps, ctx
            )[0]
        )
        assert {x.dtype for x in out.values()} == {jnp.dtype(jnp.bfloat16)}


def test_what_makes_no_sense_is_refused_by_a_sentence():
    maps = hierarchy(size=16)
    assert merges.create("none") is None
    cases = [
        (
            "fpn",
            {"levels": ("conv1", "conv5")},
            r"is \(conv1, conv5\), but the backbone has conv2,",
        ),
        ("fpn", {"levels": ()}, "name levels that it has"),
        ("fpn", {"fuse": "mean"}, "fuse is 'mean'; choose one of sum, concat"),
        ("fpn", {"levels": ("conv3",), "extra_levels": 1}, "coarsest level, conv5, is not among"),
        ("bifpn", {"levels": ("conv5",)}, "must be at least two"),
        ("hrnet_concat", {"version": "v3"}, "version is 'v3'; choose one of v1, v2, v2p"),
        ("hypercolumn", {"at": "conv2"}, "at is 'conv2'; choose one of conv3, conv4, conv5"),
        ("unet", {}, r"merge.name is 'unet'; choose one of none, bifpn, fpn, hrnet_concat, hrnet"),
        (
            "pan",
            {"fuse": "sum"},
            "'pan' has no option fuse; its options are levels, features, norm",
        ),
    ]
    for name, options, message in cases:
        with pytest.raises(UserError, match=message):
            merges.create(name, **options).init(jax.random.key(0), maps, CTX)
    maps["conv4"] = jnp.zeros((2, 5, 5, 4))
    with pytest.raises(UserError, match="8x6 cannot be brought to 5x5"):
        merges.create("pan", levels=("conv3", "conv4")).init(jax.random.key(0), maps, CTX)


@pytest.mark.parity
@pytest.mark.parametrize(("norm", "extra_levels"), [(False, 0), (True, 0), (False, 2)])
def test_fpn_agrees_with_torchvision_at_equal_weights(torchvision, norm, extra_levels):
    import torch
    from torchvision.ops import feature_pyramid_network as reference

    extra = reference.LastLevelP6P7(4, 4) if extra_levels else None
    layer = torch.nn.BatchNorm2d if norm else None
    theirs = reference.FeaturePyramidNetwork([3, 4, 6, 8], 4, extra, layer).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*theirs.parameters(), *theirs.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.3
                    if tensor.ndim == 1
                    else torch.randn_like(tensor) / 4
                )
    params, stats = {}, {}
    for i, level in enumerate(ALL):
        for part, blocks in (("lateral", theirs.inner_blocks), ("smooth", theirs.layer_blocks)):
            conv, *rest = blocks[i]
            entry = {"kernel": kernel(conv)} | ({} if norm else {"bias": array(conv.bias)})
            if norm:
                bn = rest[0]
                entry = {"conv": entry, "bn": {"scale": array(bn.weight), "bias": array(bn.bias)}}
                running = {"mean": array(bn.running_mean), "var": array(bn.running_var)}
                stats[f"{part}_{level}"] = {"bn": running}
            params[f"{part}_{level}"] = entry
    if extra_levels:
        for level, conv in (("conv6", extra.p6), ("conv7", extra.p7)):
            params[f"extra_{level}"] = {"kernel": kernel(conv), "bias": array(conv.bias)}
    maps = hierarchy()
    tensors = {k: torch.tensor(np.asarray(x)).permute(0, 3, 1, 2) for k, x in maps.items()}
    with torch.no_grad():
        expected = [x.permute(0, 2, 3, 1).numpy() for x in theirs(tensors).values()]
    module = merges.create("fpn", levels=ALL, features=4, norm=norm, extra_levels=extra_levels)
    got = module.apply({"params": params, "batch_stats": stats}, maps, CTX)
    assert len(got) == len(expected) == 4 + extra_levels
    for x, y in zip(got.values(), expected, strict=True):
        chex.assert_shape(x, y.shape)
        assert np.linalg.norm(x - y) < 1e-4 * np.linalg.norm(y)


def kernel(conv):
    return jnp.asarray(conv.weight.detach().numpy().transpose(2, 3, 1, 0))


def array(tensor):
    return jnp.asarray(tensor.detach().numpy())
