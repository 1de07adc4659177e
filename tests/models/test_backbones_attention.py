"""Attention at the end of a ResNet's residual branches: SE-ResNet, CBAM-ResNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from fgjax.errors import UserError
from fgjax.models import backbones, weights
from fgjax.models.attention import BLOCKS
from fgjax.models.backbones.resnet import BasicBlock
from fgjax.models.context import Context
from fgjax.models.weights import tables
from fgjax.ops.preprocessing import Preprocessing
from fgjax.vocabulary import LEVELS

DEPTHS = (1, 2, 1, 1)
# Parameters of timm's seresnet18 and seresnet50, of 1000 classes.
PUBLISHED = {"resnet18": 11_779_624, "resnet50": 28_088_024}


def images(size, channels=3):
    return np.random.default_rng(0).normal(size=(2, size, size, channels)).astype(np.float32)


def shapes(name, **options):
    module = backbones.create(name, **options)
    key, x = jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(lambda x: module.init(key, x, Context()), x)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_networks(name):
    params = shapes(name, attention="se")["params"]
    found = sum(leaf.size for leaf in jax.tree.leaves(params))
    classifier = 1000 * (1 + backbones.level_info(name)["conv5"].channels)
    assert found + classifier == PUBLISHED[name]
    assert set(params) == set(LEVELS)


@pytest.mark.parametrize("attention", BLOCKS)
def test_every_block_has_one_inside_its_level(attention):
    tiny = {"width": 8, "depths": DEPTHS}
    params = shapes("resnet50", attention=attention, **tiny)["params"]
    blocks = [block for level in LEVELS[1:] for block in params[level].values()]
    assert len(blocks) == sum(DEPTHS)
    assert all(block.pop("attention") for block in blocks)
    assert params == shapes("resnet50", **tiny)["params"]


@pytest.mark.parametrize(("name", "attention"), [("resnet18", "se"), ("resnet50", "cbam")])
def test_all_of_the_attention_learns(name, attention):
    tiny = {"width": 8, "depths": (1,), "last": "conv2"}
    module, x = backbones.create(name, attention=attention, **tiny), images(32)
    variables = jax.jit(lambda: module.init(jax.random.key(0), x, Context()))()

    def loss(params):
        hierarchy = module.apply({**variables, "params": params}, x, Context())
        return jnp.sum(jnp.square(hierarchy["conv2"]))

    grads = jax.jit(jax.grad(loss))(variables["params"])["conv2"]["block0"]["attention"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(leaf).max() > 0, path


def test_the_gate_shuts_the_residual_and_not_the_shortcut():
    x, block = np.abs(images(8, channels=8)), BasicBlock(8, attention="se")
    variables = jax.jit(lambda: block.init(jax.random.key(0), x, Context()))()

    @jax.jit
    def gated(bias):
        params = variables["params"]
        expand = {**params["attention"]["expand"], "bias": jnp.full(8, bias)}
        changed = {**params, "attention": {**params["attention"], "expand": expand}}
        return block.apply({**variables, "params": changed}, x, Context())

    plain = jax.jit(lambda: BasicBlock(8).apply(variables, x, Context()))()
    assert not np.allclose(plain, x, atol=0.1)
    np.testing.assert_allclose(gated(-50.0), x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gated(50.0), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "ndim", "path"),
    [
        ("layer2.3.se.fc1.weight", 4, "params/conv3/block3/attention/reduce/kernel"),
        ("layer4.0.se.fc2.bias", 1, "params/conv5/block0/attention/expand/bias"),
        ("layer1.0.se.channel.fc2.weight", 4, "params/conv2/block0/attention/expand/kernel"),
        (
            "layer1.0.se.spatial.conv.bn.running_mean",
            1,
            "batch_stats/conv2/block0/attention/places/bn/mean",
        ),
    ],
)
def test_published_names(key, ndim, path):
    assert tables.target(key, ndim, tables.RESNET) == path


def test_the_weights_of_a_plain_resnet_lack_the_attention():
    tiny = {"width": 8, "depths": (1,), "last": "conv2"}
    plain = traverse_util.flatten_dict(shapes("resnet50", **tiny), sep="/")
    tensors = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in plain.items()}
    source = weights.PretrainedWeights(tensors, Preprocessing(), {}, "", "plain.safetensors")
    with pytest.raises(UserError) as caught:
        weights.assign(source, "resnet50", shapes("resnet50", attention="se", **tiny))
    first, *lines = str(caught.value).splitlines()
    assert first == "the weights plain.safetensors do not fit resnet50:"
    at = "params/conv2/block0/attention"
    assert {line.strip() for line in lines} == {
        f"{at}/reduce/kernel (32, 8) is missing",
        f"{at}/reduce/bias (8,) is missing",
        f"{at}/expand/kernel (8, 32) is missing",
        f"{at}/expand/bias (32,) is missing",
    }


def test_unknown_attention_is_named():
    with pytest.raises(UserError, match=r"attention='sse' must be one of none, cbam, .*eca.* se"):
        backbones.create("resnet50", attention="sse")
