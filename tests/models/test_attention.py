import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.errors import UserError
from fgjax.models import attention
from fgjax.models.context import BATCH_NORM_MODES, Context

CTX = Context()
TRAIN = Context(train=True, bn=(("attention", BATCH_NORM_MODES["train"]),), group="attention")


def randomised(variables, seed=0):
    """Every leaf drawn anew, so that nothing is hidden behind a zero or a one."""
    rng = np.random.default_rng(seed)
    draw = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.5, x.dtype), variables)
    stats = jax.tree.map(lambda x: jnp.abs(x) + 0.5, draw.get("batch_stats", {}))
    return {**draw, "batch_stats": stats}


def image(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("name", attention.BLOCKS)
def test_a_block_keeps_shape_and_has_gradients_everywhere(name):
    x = image(4, 5, 3, 64)
    module = attention.block(name)
    variables = randomised(module.init(jax.random.key(0), x, CTX))

    def loss(params, x):
        y, _ = module.apply({**variables, "params": params}, x, TRAIN, mutable=["batch_stats"])
        return jnp.sum(jnp.square(y))

    chex.assert_equal_shape([x, module.apply(variables, x, CTX)])
    grads, dx = jax.grad(loss, argnums=(0, 1))(variables["params"], x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0, path
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("name", ["se", "ese", "eca", "coordinate", "global_context", "non_local"])
def test_gradients_against_finite_differences(name):
    x = image(1, 3, 2, 8, seed=1)
    module = attention.block(name)
    variables = randomised(module.init(jax.random.key(0), x, CTX))
    check_grads(lambda x: module.apply(variables, x, CTX), (x,), 1, ["rev"], 0.02, 0.02, eps=1e-2)


@pytest.mark.parametrize("name", ["global_context", "non_local"])
def test_residual_blocks_start_as_the_identity(name):
    x = image(2, 4, 3, 8)
    module = attention.block(name)
    np.testing.assert_array_equal(module.apply(module.init(jax.random.key(0), x, CTX), x, CTX), x)


def test_create_attends_to_the_given_levels_only():
    hierarchy = {
        "conv3": image(1, 6, 5, 8),
        "conv4": image(1, 3, 3, 16),
        "conv5": image(1, 2, 2, 16),
    }
    module = attention.create("se", levels=("conv3", "conv5"))
    variables = randomised(module.init(jax.random.key(0), hierarchy, CTX))
    assert set(variables["params"]) == {"conv3", "conv5"}
    attended, maps = module.apply(variables, hierarchy, CTX)
    assert list(attended) == list(hierarchy)
    assert maps == {}
    assert attended["conv4"] is hierarchy["conv4"]
    alone = attention.block("se").apply(
        {"params": variables["params"]["conv3"]}, hierarchy["conv3"], CTX
    )
    np.testing.assert_array_equal(attended["conv3"], alone)


def test_part_maps_are_rectified_and_leave_the_hierarchy_alone():
    hierarchy = {"conv4": image(2, 5, 3, 8), "conv5": image(2, 3, 2, 16)}
    module = attention.create("bilinear_attention", levels=("conv4", "conv5"), maps=6)
    variables = randomised(module.init(jax.random.key(0), hierarchy, CTX))
    same, maps = module.apply(variables, hierarchy, CTX)
    assert same is hierarchy
    assert {level: m.shape for level, m in maps.items()} == {
        "conv4": (2, 5, 3, 6),
        "conv5": (2, 3, 2, 6),
    }
    assert all(m.min() == 0 and m.max() > 0 for m in maps.values())


def test_bfloat16_activations_float32_parameters():
    x = image(2, 4, 4, 16)
    ctx = Context(dtype=jnp.bfloat16)
    for name in attention.BLOCKS:
        module = attention.block(name)
        variables = module.init(jax.random.key(0), x.astype(jnp.bfloat16), ctx)
        assert module.apply(variables, x.astype(jnp.bfloat16), ctx).dtype == jnp.bfloat16
        chex.assert_trees_all_equal_dtypes(variables, jax.tree.map(jnp.float32, variables))


def test_what_does_not_exist_is_refused_by_a_sentence():
    assert attention.create("none") is None
    with pytest.raises(
        UserError, match=r"model.attention.name is 'sse'; choose one of none, bilin"
    ):
        attention.create("sse")
    with pytest.raises(UserError, match="'eca' has no option width; it takes none"):
        attention.create("eca", width=3)
    with pytest.raises(
        UserError, match="'cbam' has no option ratio; its options are reduction, ke"
    ):
        attention.create("cbam", ratio=3)
    with pytest.raises(UserError, match=r"levels names conv5, but the hierarchy has conv4"):
        attention.create("se").init(jax.random.key(0), {"conv4": image(1, 2, 2, 8)}, CTX)
    with pytest.raises(UserError, match=r"attention.fuse is 'mul'; choose one of add, scale"):
        attention.block("global_context", fuse="mul").init(
            jax.random.key(0), image(1, 2, 2, 8), CTX
        )


def _dense(layer):
    """Our dense layer for a 1x1 convolution of torch."""
    kernel = {"kernel": _kernel(layer.weight)[0, 0]}
    return kernel if layer.bias is None else kernel | {"bias": _array(layer.bias)}


def _array(tensor):
    return jnp.asarray(tensor.detach().numpy())


def _kernel(weight):
    return jnp.asarray(weight.detach().numpy().transpose(2, 3, 1, 0))


def _norm(layer):
    return (
        {"scale": _array(layer.weight), "bias": _array(layer.bias)},
        {"mean": _array(layer.running_mean), "var": _array(layer.running_var)},
    )


def _se(theirs):
    return {"params": {"reduce": _dense(theirs.fc1), "expand": _dense(theirs.fc2)}}


def _ese(theirs):
    return {"params": {"weigh": _dense(theirs.fc)}}


def _eca(theirs):
    return {"params": {"conv": {"kernel": _array(theirs.conv.weight).reshape(1, -1, 1, 1)}}}


def _cbam(theirs):
    bn, stats = _norm(theirs.spatial.conv.bn)
    kernel = {"kernel": _kernel(theirs.spatial.conv.conv.weight)}
    dense = {"reduce": _dense(theirs.channel.fc1), "expand": _dense(theirs.channel.fc2)}
    return {
        "params": {**dense, "places": {"conv": kernel, "bn": bn}},
        "batch_stats": {"places": {"bn": stats}},
    }


def _coordinate(theirs):
    bn, stats = _norm(theirs.bn1)
    names = {"reduce": theirs.conv1, "rows": theirs.conv_h, "columns": theirs.conv_w}
    dense = {name: _dense(layer) for name, layer in names.items()}
    return {"params": {**dense, "bn": bn}, "batch_stats": {"bn": stats}}


def _global_context(theirs):
    mlp = theirs.mlp_add or theirs.mlp_scale
    norm = {"scale": _array(mlp.norm.weight), "bias": _array(mlp.norm.bias)}
    attend = {"kernel": _dense(theirs.conv_attn)["kernel"]}
    dense = {"attend": attend, "reduce": _dense(mlp.fc1), "expand": _dense(mlp.fc2)}
    return {"params": {**dense, "norm": norm}}


def _non_local(theirs):
    # timm scales by the input's width instead of the projection's, and normalises the output.
    bn, stats = _norm(theirs.norm)
    factor = bn["scale"] / jnp.sqrt(stats["var"] + theirs.norm.eps)
    query, out = _dense(theirs.t), _dense(theirs.z)
    ratio = (theirs.t.weight.shape[0] / theirs.t.weight.shape[1]) ** 0.5
    return {
        "params": {
            "query": jax.tree.map(lambda x: x * ratio, query),
            "key": {"kernel": _dense(theirs.p)["kernel"]},
            "value": _dense(theirs.g),
            "out": {
                "kernel": out["kernel"] * factor,
                "bias": (out["bias"] - stats["mean"]) * factor + bn["bias"],
            },
        }
    }


# name here: (class in timm, its arguments, our options, the weights)
TIMM = {
    "se": ("SEModule", {"channels": 48}, {}, _se),
    "ese": ("EffectiveSEModule", {"channels": 48}, {}, _ese),
    "eca": ("EcaModule", {"channels": 48}, {}, _eca),
    "cbam": ("CbamModule", {"channels": 48}, {}, _cbam),
    "coordinate": ("CoordAttn", {"channels": 48, "rd_channels": 8}, {}, _coordinate),
    "global_context": (
        "GlobalContext",
        {"channels": 48, "fuse_add": True, "fuse_scale": False, "rd_ratio": 1 / 16},
        {},
        _global_context,
    ),
    "global_context_scale": (
        "GlobalContext",
        {"channels": 48, "rd_ratio": 1 / 8},
        {"fuse": "scale", "reduction": 8},
        _global_context,
    ),
    "non_local": ("NonLocalAttn", {"in_channels": 48, "rd_ratio": 1 / 2}, {}, _non_local),
}


@pytest.mark.parity
@pytest.mark.parametrize("case", TIMM)
def test_agrees_with_timm_at_equal_weights(timm, case):
    import torch
    from timm.layers import cbam, coord_attn

    kind, arguments, options, weights = TIMM[case]
    found = next(getattr(m, kind) for m in (timm.layers, cbam, coord_attn) if hasattr(m, kind))
    torch.manual_seed(0)
    theirs = found(**arguments).eval()
    with torch.no_grad():
        for tensor in [*theirs.parameters(), *theirs.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.1
                    if tensor.ndim == 1
                    else torch.randn_like(tensor) / 4
                )
    x = image(2, 9, 7, 48, seed=3)
    with torch.no_grad():
        expected = theirs(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    name = case.removesuffix("_scale")
    got = attention.block(name, **options).apply(weights(theirs), x, CTX)
    error = np.linalg.norm(got - expected.numpy()) / np.linalg.norm(expected.numpy())
    assert error < 1e-4
